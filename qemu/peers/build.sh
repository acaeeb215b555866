#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Runs inside the build root. Compiles the programs of bench-peers against the unpacked packages, and packs them with the
# brokers, the libraries that they need and the modules of TIPC: a further initramfs for the machine.
# Usage: build.sh ROOT OUTPUT.cpio
set -euo pipefail
root=$1 out=$2
libraries=$root/usr/lib/x86_64-linux-gnu

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
chmod 755 "$dir"
mkdir -p "$dir"/peers/modules "$dir"/usr/{bin,sbin} "$dir/etc"

# compile PROGRAM [OPTION...]
compile() {
	local program=$1
	shift
	gcc-14 --sysroot="$root" -O2 -Wall -Wextra -Werror -I uapi -o "$dir/peers/$program" \
		"qemu/peers/$program.c" qemu/peers/bench.c "$@"
}
compile kbus
compile unix
compile mqueue
compile netlink
compile tipc
compile zeromq -lzmq
compile nng -lnng
compile mqtt -lmosquitto
compile sdbus -lsystemd
compile libdbus -I "$root/usr/include/dbus-1.0" -I "$libraries/dbus-1.0/include" -ldbus-1
gcc-14 --sysroot="$root" -O2 -Wall -Wextra -Werror -o "$dir/peers/with-socket" qemu/peers/with-socket.c

cp qemu/peers/{dbus.conf,mosquitto.conf,run} "$dir/peers/"
chmod 755 "$dir/peers/run"
cp "$root"/usr/bin/{dbus-broker,dbus-broker-launch,dbus-daemon} "$dir/usr/bin/"
cp "$root/usr/sbin/mosquitto" "$dir/usr/sbin/"
# What D-Bus wants to know of the machine.
echo 0123456789abcdef0123456789abcdef >"$dir/etc/machine-id"

# The libraries of all of them, and of those in turn.
find "$dir/peers" "$dir"/usr/{bin,sbin} -type f -exec sh -c 'head -c 4 "$1" | grep -q ELF' sh {} \; -print | while read -r program; do
	"$root/usr/lib64/ld-linux-x86-64.so.2" --library-path "$libraries" --list "$program"
done | grep -o "$root/[^ ]*" | sort -u | while read -r library; do
	file=${library#"$root"}
	mkdir -p "$dir$(dirname "$file")"
	cp -L "$library" "$dir$file"
done
# Their loader has another name than its file.
mkdir "$dir/lib64"
cp -L "$root/usr/lib64/ld-linux-x86-64.so.2" "$dir/lib64/"

for module in tipc udp_tunnel ip6_udp_tunnel; do
	find "$root/usr/lib/modules" -name "$module.ko.xz" -exec sh -c 'xz -dc "$1" >"$2"' sh {} "$dir/peers/modules/$module.ko" \;
done

(cd "$dir" && find . -print0 | cpio --null --create --format=newc --quiet --owner=0:0) | gzip -1 >"$out.part"
mv "$out.part" "$out"
