#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Draws docs/pictures/ anew: what kbus monitor and kbus top show on a terminal in the machine, as SVG.
. "$(dirname "$0")/lib.sh"

# The pages, which are built too, insist that their pictures are there.
mkdir -p "$TOP/docs/pictures"
touch -a "$TOP"/docs/pictures/{monitor,top}.svg
bash "$TOP/qemu/image.sh"
bash "$TOP/qemu/boot.sh" "$LOGS/pictures" userland pictures >/dev/null || die "see $LOGS/pictures and $LOGS/pictures.console"
# Carriage returns are the serial line's.
while read -r name data; do
	base64 -d <<<"${data%$'\r'}" | in_root python3 -c 'import sys, zlib; sys.stdout.buffer.write(zlib.decompress(sys.stdin.buffer.read()))' \
		>"$TOP/docs/pictures/$name.svg"
	say "docs/pictures/$name.svg"
done < <(sed -n 's/^# picture //p' "$LOGS/pictures")
! grep '^not ok' "$LOGS/pictures"
