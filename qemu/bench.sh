#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Measures in the machine, on one processor whose clock counts instructions and, in a second boot, on two; prints the tables; how far it is goes to the
# standard error. Usage: bench.sh [WHAT,OPTION,...] for kbus-bench, as in "bindings" or "--help".
# UPDATE=1 puts the tables of a whole run in docs/performance.md, and plots in docs/plots/. Fails when a figure that must be flat is not.
. "$(dirname "$0")/lib.sh"

args=${1:-}
[ -z "${UPDATE:-}" ] || [ -z "$args" ] || die "UPDATE=1 is for a whole run"
choose_kernel
bash "$TOP/qemu/image.sh"
version=$(<"$KERNELDIR/version")
result=$LOGS/bench
# boot RUN [ARGS]: adds what it prints to the result.
boot() {
	bash "$TOP/qemu/boot.sh" "$result.$1" "$@" | { grep --line-buffered '^# ' || :; } >&2
	cat "$result.$1" >>"$result"
}
: >"$result"
if [ "$args" != processors ]; then
	say "Booting Linux $version, unmodified, to count instructions (about 1 min)"
	boot bench "$args"
fi
if [ -z "$args" ] || [ "$args" = processors ]; then
	say "Booting it with two processors (about 1 min)"
	boot processors
fi
{
	echo "Linux $version, $("${EMULATOR[@]}" --version | sed -n 's/^\(QEMU emulator version [^ ]*\).*/\1/p'), $(date -u +%F)."
	grep -v '^# ' "$result"
} >"$result.md"
cat "$result.md"
! grep '^# exit' "$result" | grep -qv ' 0$' || die "see the tables: something is not as it must be"
if [ -n "${UPDATE:-}" ]; then
	bash "$TOP/qemu/page.sh" bench "$result.md"
fi
