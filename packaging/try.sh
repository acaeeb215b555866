#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Installs the packages in a copy of the build root, as a user would with apt: DKMS must build the module there for Debian's
# kernel as it is built here, sign it with the key that it is told of, and build it again for a kernel that comes later; where
# something is missing it must say what. Libraries and dissector must be found; and a purge must leave nothing. Usage: try.sh
#
# What modules are built with, which takes minutes to make, is left in dkms-cache for system.sh.
. "$(dirname "$0")/../qemu/lib.sh"

choose_kernel
version=$(<"$KERNELDIR/version")
kver=$version-$FLAVOUR
# A second kernel with Rust: the same version, built for other machines.
later=$version-$([ "$FLAVOUR" = amd64 ] && echo cloud-amd64 || echo amd64)
copy=$WORK/try
packages=$WORK/packages
debs=$(dirname "$KERNELSRC")/deb

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

# All but the kernel's source, which is only recommended: nothing can be built, and apt's own output says why. DKMS is told of
# a key, as an administrator has one of his own.
without_source() {
	inside sh -euc 'apt-get update; apt-get install -y --no-install-recommends "$@"' sh "$debs"/linux-headers-*.deb dkms mokutil-
	# shellcheck disable=SC2016
	inside sh -euc 'mkdir /etc/dkms/keys
		openssl req -new -x509 -nodes -days 10 -subj "/CN=Trial of signatures" -newkey rsa:2048 -keyout /etc/dkms/keys/trial.key \
			-outform DER -out /etc/dkms/keys/trial.der
		printf "%s\n" mok_signing_key=/etc/dkms/keys/trial.key mok_certificate=/etc/dkms/keys/trial.der >>/etc/dkms/framework.conf
		if apt-get install -y --no-install-recommends "$@" >/tmp/output 2>&1; then cat /tmp/output; exit 1; fi
		cat /tmp/output
		grep "^kbus: the kernel.s source is missing, .*: apt install linux-source-7" /tmp/output
		[ ! -e /var/cache/kbus ]' sh "$packages"/kbus-dkms_*.deb
}

# apt goes on where it was, as soon as the source is there.
install() {
	inside apt-get install -y --no-install-recommends "$debs"/linux-source-*.deb
	inside apt-get install -y --no-install-recommends "$packages"/kbus-tools_*.deb "$packages"/libkbus*.deb "$packages"/python3-kbus_*.deb
}

# DKMS has built and installed the module, for the very kernel. Usage: built RELEASE
built() {
	# shellcheck disable=SC2016
	inside sh -euc '
		dkms status | tee /dev/stderr | grep "^kbus/.*, $1, .*: installed"
		file=$(find /lib/modules/$1/updates/dkms -name "kbus.ko*")
		modinfo -F vermagic "$file" | grep "^$1 "' sh "$1"
}

# The signature is of that key, and right. It stands behind the module: PKCS#7, its length, and a line of text.
signed() {
	# shellcheck disable=SC2016
	inside sh -euc '
		file=$(find /lib/modules/$1/updates/dkms -name "kbus.ko*")
		modinfo -F signer "$file" | grep -x "Trial of signatures"
		case $file in *.xz) xz -dc "$file" ;; *) cat "$file" ;; esac >/tmp/whole
		python3 -c "
import struct, sys
whole = open(\"/tmp/whole\", \"rb\").read()
end = b\"~Module signature appended~\\n\"
assert whole.endswith(end)
length = struct.unpack(\">I\", whole[-len(end) - 4 : -len(end)])[0]
at = len(whole) - len(end) - 12 - length
open(\"/tmp/module\", \"wb\").write(whole[:at])
open(\"/tmp/signature\", \"wb\").write(whole[at : at + length])"
		openssl x509 -inform DER -in /etc/dkms/keys/trial.der -out /tmp/trial.pem
		check() { openssl cms -verify -binary -inform DER -in /tmp/signature -content /tmp/module -certfile /tmp/trial.pem -CAfile /tmp/trial.pem -purpose any -out /dev/null; }
		check
		echo >>/tmp/module
		! check' sh "$kver"
}

# What is kept is what modules are built with, and no longer the source. The next build needs no source at all.
kept() {
	# shellcheck disable=SC2016
	inside sh -euc '
		du -sm /var/cache/kbus/*
		[ "$(du -sm /var/cache/kbus | cut -f1)" -lt 300 ]
		mv /usr/src/linux-source-7* /tmp/
		dkms remove "kbus/$2" -k "$1"
		dkms install "kbus/$2" -k "$1"
		mv /tmp/linux-source-7* /usr/src/' sh "$kver" "$(in_root dpkg-deb -f "$packages"/kbus-dkms_*.deb Version)"
	built "$kver"
	rm -rf "$WORK/dkms-cache"
	cp -a "$copy/upper/var/cache/kbus" "$WORK/dkms-cache"
}

# Both packages of the module: that of DKMS is taken, and the other one when DKMS's has gone. DKMS puts a module that it finds
# aside, and back later: only if its package is still there, and not an old one over a new one.
both() {
	# shellcheck disable=SC2016
	inside sh -euc '
		kver=$1; shift
		module=$(dkms status | sed -n "s/^\(kbus[^,]*\), $kver,.*/\1/p")
		prebuilt() { apt-get install -y --reinstall --no-install-recommends "$@"; }
		taken() { echo "$1" && modprobe -S $kver --show-depends kbus | grep "/$1/kbus.ko"; }
		prebuilt "$@"
		taken updates/dkms
		dkms uninstall "$module" -k $kver
		taken extra
		dkms install "$module" -k $kver
		taken updates/dkms
		apt-get remove -y kbus-modules-$kver
		taken updates/dkms
		dkms uninstall "$module" -k $kver
		if modprobe -S $kver --show-depends kbus; then exit 1; fi
		prebuilt "$@"
		taken extra
		dkms install "$module" -k $kver
		for aside in /var/lib/dkms/kbus/original_module/$kver/*/kbus.ko; do
			[ -e "$aside" ]
			echo older >"$aside"
		done
		prebuilt "$@"
		taken updates/dkms
		dkms uninstall "$module" -k $kver
		taken extra
		if dpkg --verify kbus-modules-$kver | grep kbus.ko; then exit 1; fi
		dkms install "$module" -k $kver
		taken updates/dkms' sh "$kver" "$debs"/linux-binary-*.deb "$packages"/kbus-modules-*.deb
}

# A kernel comes: the packages of its headers have DKMS build for it. It goes: what was kept for it goes with the next build.
another_kernel() {
	inside apt-get install -y --no-install-recommends "linux-headers-$later"
	built "$later"
	built "$kver"
	# shellcheck disable=SC2016
	inside sh -euc '
		[ -e /var/cache/kbus/$1/.made ]
		run-parts --arg=$1 /etc/kernel/prerm.d
		apt-get purge -y linux-headers-$1
		rm -rf /lib/modules/$1
		dkms status | { ! grep -F "$1"; }
		module=$(dkms status | sed -n "s/^\(kbus[^,]*\), $2,.*/\1/p")
		dkms build --force "$module" -k $2
		[ ! -e /var/cache/kbus/$1 ]
		[ -e /var/cache/kbus/$2 ]' sh "$later" "$kver"
}

# Programs find the libraries, and Wireshark the dissector.
found() {
	inside python3 -c 'import kbus; print(kbus.__version__)'
	# shellcheck disable=SC2016
	inside sh -euc 'printf "%s\n" "#include <errno.h>" "#include <kbus.h>" "int main(void) { return !*kbus_strerror(KBUS_OP_OPEN, EAGAIN); }" >/tmp/t.c
		gcc-14 -Wall -Werror -o /tmp/t /tmp/t.c -lkbus && /tmp/t'
	inside sh -euc 'setpriv --reuid=65534 --regid=65534 --clear-groups env HOME=/nonexistent tshark -G protocols | grep "^KBUS message"'
}

purged() {
	inside apt-get purge -y kbus-dkms "kbus-modules-$kver" kbus-tools libkbus-dev libkbus0 python3-kbus
	# shellcheck disable=SC2016
	inside sh -euc '
		left=$(find / -xdev -path /proc -prune -o -iname "*kbus*" ! -path "/tmp/*" ! -path "/root/*" -print | grep -v "^$1" || :)
		[ -z "$left" ] || { echo "left behind: $left"; exit 1; }' sh "$CACHE"
}

rm -rf --one-file-system "$copy"
step "says what is missing" "30 s" without_source
step "install the packages" "3 min" install
step "module built by DKMS" "5 s" built "$kver"
step "module signed" "5 s" signed
step "what is kept" "1 min" kept
step "both packages of the module" "30 s" both
step "a kernel that comes later" "4 min" another_kernel
step "libraries and dissector found" "5 s" found
step "purge" "20 s" purged
rm -rf --one-file-system "$copy"
