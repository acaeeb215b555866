#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Builds kbus.ko for the chosen kernel, in the cache: nothing is written into the source tree. Prints its path.
# Usage: module.sh [make arguments, W=1 for instance]
. "$(dirname "$0")/lib.sh"

choose_kernel
out=$OUT
mkdir -p "$out"
# The module's sources as they are now; unchanged files keep their times, so that make rebuilds only what it must.
mkdir -p "$out/src"
for part in Kbuild net uapi; do
	mkdir -p "$out/src/$(dirname $part)"
	rsync_like() { (cd "$TOP" && find "$1" -type f ! -path '*/target/*' -print0 | tar --null -cf - --files-from=-) | tar -C "$out/src" -xf -; }
	rsync_like "$part"
done
# Files that have gone from the tree must go here too.
(cd "$out/src" && find net uapi \( -name '*.rs' -o -name '*.[ch]' \) ! -name '*_generated.rs' ! -name '*.mod.c' -print) | while read -r file; do
	[ -e "$TOP/$file" ] || rm -f "$out/src/$file"
done
in_root make -C "$KERNELSRC" O="$KERNELDIR/build" M="$out/src" "${COMPILER[@]}" "$@" modules
echo "$out/src/kbus.ko"
