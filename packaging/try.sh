#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Installs the packages in a copy of the build root, as a user would with apt: DKMS must build the module there for
# Debian's kernel, as it is built here; the libraries must be found; and a purge must leave nothing. Usage: try.sh
. "$(dirname "$0")/../qemu/lib.sh"

choose_kernel
kver=$(<"$KERNELDIR/version")-$FLAVOUR
copy=$WORK/try
packages=$WORK/packages

inside() {
	# shellcheck disable=SC2016
	unshare "${UNSHARE[@]}" --mount --propagation private bash -euc '
		copy=$1 root=$2 cache=$3; shift 3
		mkdir -p "$copy"/{upper,work,merged}
		mount -t overlay overlay -o "lowerdir=$root,upperdir=$copy/upper,workdir=$copy/work" "$copy/merged"
		root=$copy/merged
		for dir in /proc /sys /dev; do mount --rbind $dir "$root$dir"; done
		mkdir -p "$root$cache"
		mount --bind "$cache" "$root$cache"
		[ ! -e /etc/resolv.conf ] || cat /etc/resolv.conf >"$root/etc/resolv.conf"
		exec chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
	' bash "$copy" "$ROOT" "$CACHE" "$@"
}

install() {
	inside sh -euc 'apt-get install -y --no-install-recommends "$@"' sh \
		"$(dirname "$KERNELSRC")"/deb/linux-source-*.deb "$(dirname "$KERNELSRC")"/deb/linux-headers-*.deb dkms mokutil- \
		"$packages"/kbus-dkms_*.deb "$packages"/libkbus*.deb "$packages"/python3-kbus_*.deb
}

# DKMS has built and installed the module, for the very kernel.
built() {
	# shellcheck disable=SC2016
	inside sh -euc '
		dkms status | tee /dev/stderr | grep "^kbus/.*, $1, .*: installed"
		file=$(find /lib/modules/$1/updates/dkms -name "kbus.ko*")
		modinfo -F vermagic "$file" | grep "^$1 "' sh "$kver"
}

# Programs find the libraries.
found() {
	inside python3 -c 'import kbus; print(kbus.__version__)'
	# shellcheck disable=SC2016
	inside sh -euc 'printf "%s\n" "#include <errno.h>" "#include <kbus.h>" "int main(void) { return !*kbus_strerror(KBUS_OP_OPEN, EAGAIN); }" >/tmp/t.c
		gcc-14 -Wall -Werror -o /tmp/t /tmp/t.c -lkbus && /tmp/t'
}

purged() {
	inside apt-get purge -y kbus-dkms libkbus-dev libkbus0 python3-kbus
	# shellcheck disable=SC2016
	inside sh -euc '
		left=$(find / -xdev -path /proc -prune -o -iname "*kbus*" ! -path "/tmp/*" ! -path "/root/*" -print | grep -v "^$1" || :)
		[ -z "$left" ] || { echo "left behind: $left"; exit 1; }' sh "$CACHE"
}

rm -rf --one-file-system "$copy"
step "install the packages" "6 min" install
step "module built by DKMS" "5 s" built
step "libraries found" "5 s" found
step "purge" "20 s" purged
rm -rf --one-file-system "$copy"
