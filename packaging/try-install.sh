#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# 'make install' and 'make uninstall' in the build root, with a copy of the sources: what is installed works where it is, what
# the administrator has changed is kept, nothing else is left. Prints one line for each thing found. Usage: try-install.sh
. "$(dirname "$0")/../qemu/lib.sh"

choose_kernel
dir=$WORK/try-install
rm -rf "$dir"
mkdir -p "$dir/source" "$dir/to"
(cd "$TOP" && git ls-files -z | tar --null -cf - --files-from=-) | tar -C "$dir/source" -xf -

make_in() {
	in_root env CARGO_TARGET_DIR="$WORK/target-install" make -C "$dir/source" "$@" DESTDIR="$dir/to" LIBDIR=/opt/kbus/lib PREFIX=/opt/kbus
}
is_there() { [ -e "$dir/to$1" ] || die "$1 was not installed"; }

step "make install" "4 min, later 30 s" make_in install KDIR="$KERNELDIR/build" CC=x86_64-linux-gnu-gcc-14
release=$(<"$KERNELDIR/version")-$FLAVOUR
for file in "/lib/modules/$release/updates/kbus.ko" /opt/kbus/{bin/kbus,lib/libkbus.so.0,lib/libkbus.a,lib/pkgconfig/kbus.pc,lib/wireshark/plugins/kbus.lua} \
	/opt/kbus/include/{kbus.h,linux/kbus.h} /opt/kbus/share/man/{man1/kbus.1,man3/kbus_open.3,man7/kbus.7} \
	/opt/kbus/lib/{modules-load,tmpfiles}.d/kbus.conf /etc/{modprobe,sysctl}.d/kbus.conf; do
	is_there "$file"
done
[ "$(in_root modinfo -F vermagic "$dir/to/lib/modules/$release/updates/kbus.ko" | cut -d' ' -f1)" = "$release" ] || die "the module is of another kernel"
say "files: $(wc -l <"$dir/to/opt/kbus/share/kbus/installed")"
grep -qx 'prefix=/opt/kbus' "$dir/to/opt/kbus/lib/pkgconfig/kbus.pc" || die "kbus.pc has another prefix"
grep -q '^ExecStart=/opt/kbus/bin/kbus ' "$dir/to/opt/kbus/share/doc/kbus/examples/kbus-echo.service" || die "the example has another path"
in_root "$dir/to/opt/kbus/bin/kbus" --version
# shellcheck disable=SC2016
in_root sh -euc 'cd "$1"; PYTHONPATH=$(find . -path "*/kbus/__init__.py" -printf "%h/..") python3 -B -c "import kbus; print(kbus.__version__)"' sh "$dir/to"

# Again, over a file that was changed.
echo 'net.kbus.max_queue_len = 5000' >>"$dir/to/etc/sysctl.d/kbus.conf"
step "make install, again" "5 s" make_in install
grep -q '= 5000' "$dir/to/etc/sysctl.d/kbus.conf" || die "a changed file was overwritten"
is_there /etc/sysctl.d/kbus.conf.new
step "make uninstall" "2 s" make_in uninstall
left=$(cd "$dir/to" && find . ! -type d)
[ "$left" = ./etc/sysctl.d/kbus.conf ] || die "this is left: $left"
! make_in uninstall >/dev/null 2>&1 || die "a second uninstall says nothing"
say "make install and uninstall are right"
rm -rf "$dir"
