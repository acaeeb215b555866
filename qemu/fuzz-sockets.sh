#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Fuzzes the sockets on the kernel with sanitizers for so many minutes, with what the tree has to begin with; then adds the
# programs that reached something new to selftests/corpus, and says what of net/ was reached.
# Usage: fuzz-sockets.sh [MINUTES]; SEED= repeats the choices of a run.
. "$(dirname "$0")/lib.sh"

minutes=${1:-10}
export KERNEL=debug
bash "$TOP/qemu/bootstrap.sh"
choose_kernel
bash "$TOP/qemu/image.sh"
result=$LOGS/fuzz
rc=0
# Half an hour for the boot, the corpus, and programs that are being shortened when the time is over.
KBUS_VM_SECONDS=$((minutes * 60 + 1800)) bash "$TOP/qemu/boot.sh" "$result" fuzz "--seconds,$((minutes * 60))${SEED:+,--seed,$SEED}" || rc=$?
grep -q '^not ok' "$result" && rc=1

# "# kept", then a program in lines "# | CALL", then an empty line.
new=$TOP/selftests/corpus/found.txt
awk '/^# kept/ { on = 1; next } !/^# \| / { if (on) print ""; on = 0 } on { sub(/^# \| /, ""); print }' "$result" >"$result.kept"
if [ -s "$result.kept" ]; then
	[ -e "$new" ] || printf '%s\n' '# SPDX-License-Identifier: GPL-2.0' '# Programs that kbus-fuzz has found and kept, each of which reached something new then.' >"$new"
	{ echo; cat "$result.kept"; } >>"$new"
	say "$(grep -c '^# kept' "$result") new programs are in selftests/corpus/found.txt"
fi
in_root python3 qemu/coverage.py "$OUT/src/kbus.ko" "$result" >"$LOGS/coverage" || rc=1
sed '/^Functions never/q' "$LOGS/coverage"
say "Coverage, with the functions that were never reached: $LOGS/coverage"
[ "$rc" -eq 0 ] || say "The programs that showed something wrong are in $result, that of a crash in $result.program"
exit "$rc"
