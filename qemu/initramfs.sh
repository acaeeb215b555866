#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Runs inside the build root. Packs the machine's root file system: busybox, Python with its standard library, our
# programs and the module. Usage: initramfs.sh OUTPUT.cpio PROGRAMS MODULE [OTHER MODULE]...
set -euo pipefail
out=$1 base=/base.cpio.gz programs=$2 module=$3
shift 3

pack() { (cd "$1" && find . -print0 | cpio --null --create --format=newc --quiet --owner=0:0); }

# What never changes: made once per build root.
if [ ! -e "$base" ]; then
	dir=$(mktemp -d)
	mkdir -p "$dir"/{bin,dev,proc,sys,tmp,etc,root,usr/bin,usr/lib,lib64}
	cp /usr/bin/busybox "$dir/bin/"
	busybox --list | grep -vx busybox | while read -r applet; do ln -s busybox "$dir/bin/$applet"; done
	cp -L /usr/bin/python3 "$dir/usr/bin/"
	version=$(python3 -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
	mkdir -p "$dir/usr/lib/$version"
	# The standard library without its tests, its IDE and the modules that need libraries of their own.
	(cd "/usr/lib/$version" && find . \( -name test -o -name idlelib -o -name lib2to3 -o -name ensurepip \
		-o -name __pycache__ -o -name 'config-*' -o -name _pyrepl \) -prune -o -type f -print0 |
		tar --null -cf - --files-from=-) | tar -C "$dir/usr/lib/$version" -xf -
	{ ldd /usr/bin/python3; ldd "/usr/lib/$version"/lib-dynload/_*struct*.so 2>/dev/null || :; } |
		grep -o '/[^ ]*' | sort -u | while read -r lib; do
		[ ! -f "$lib" ] || { mkdir -p "$dir$(dirname "$lib")"; cp -Ln "$lib" "$dir$lib"; }
	done
	echo 'root:x:0:0:root:/root:/bin/sh' >"$dir/etc/passwd"
	pack "$dir" | gzip -1 >"$base.part"
	mv "$base.part" "$base"
	rm -rf "$dir"
fi

dir=$(mktemp -d)
# It becomes "/", where other users than root are to look too.
chmod 755 "$dir"
release=$(modinfo -F vermagic "$module" | cut -d' ' -f1)
mkdir -p "$dir"/{demo,sbin,"lib/modules/$release"}
cp qemu/init "$dir/init"
cp "$programs"/kbus-* "$dir/"
cp "$programs"/{replier,merge,listener.py} "$dir/demo/"
[ ! -d "$programs/userland" ] || cp -r "$programs/userland" "$dir/userland"
cp "$module" "$dir/lib/modules/$release/kbus.ko"
[ $# -eq 0 ] || cp "$@" "$dir/lib/modules/$release/"
ln -s "lib/modules/$release/kbus.ko" "$dir/kbus.ko"
# The sources, for "make shell".
mkdir "$dir/src"
cp -r README.md docs net uapi selftests "$dir/src/"
# The kernel could load them by itself, so that a module which asks for that by an alias is found.
ln -s /bin/busybox "$dir/sbin/modprobe"
touch "$dir/lib/modules/$release"/modules.{order,builtin,builtin.modinfo}
depmod -b "$dir" "$release"
{ cat "$base"; pack "$dir" | gzip -1; } >"$out.part"
mv "$out.part" "$out"
rm -rf "$dir"
