#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Records each instruction of a send, a receive and a round trip in the machine of make bench, and prints where they go. The whole
# tables, call trees and flame graphs are kept; their folder is printed at the end. Usage: profile.sh [holds], which records other calls
# and prints the longest holds of locks.
. "$(dirname "$0")/lib.sh"

what=${1:-profile}
[ "$what" = profile ] || [ "$what" = holds ] || die "B is holds or nothing, not '$what'"
choose_kernel
folder=$WORK/profile
mkdir -p "$folder"
bash "$TOP/qemu/image.sh"
step "trace.so" "1 s" in_root gcc-14 -O2 -Wall -Wextra -Werror -shared -fPIC -o "$folder/trace.so" qemu/profile/trace.c
if [ "$what" = holds ]; then
	say "Booting Linux $(<"$KERNELDIR/version"), unmodified, to record (about 4 min)"
	KBUS_TRACE=$folder bash "$TOP/qemu/boot.sh" "$folder/result" bench holds | { grep --line-buffered '^# ' || :; } >&2
	in_root python3 qemu/profile/holds.py "$folder/result" "$folder/trace" | tee "$folder/holds.md"
	rm "$folder/trace"
	exit
fi
# Draws flame graphs; kept for all checkouts.
inferno=$CACHE/inferno-0.12.4
[ -x "$inferno/bin/inferno-flamegraph" ] ||
	step "inferno-flamegraph" "1 min" in_root cargo install --quiet --locked --root "$inferno" --version "${inferno##*-}" --no-default-features \
		--features cli inferno
say "Booting Linux $(<"$KERNELDIR/version"), unmodified, to record (about 1 min)"
KBUS_TRACE=$folder bash "$TOP/qemu/boot.sh" "$folder/result" bench profile >/dev/null
in_root python3 qemu/profile/profile.py "$folder/result" "$folder/trace" "$OUT/src/kbus.ko" "$folder" >"$folder/tables.txt"
for stacks in "$folder"/*.folded; do
	in_root sh -c "$inferno/bin/inferno-flamegraph --countname instructions --title '$(basename "$stacks" .folded)' '$stacks' >'${stacks%.folded}.svg'"
done
rm "$folder/trace"
cat "$folder/tables.txt"
say "These tables, and of each call a call tree (.tree), the lines of the module that take most (.lines) and a flame graph (.svg): $folder"
