#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Another prompt in the machine of "make shell": the first one of its further serial lines (qemu/boot.sh) that is free.
. "$(dirname "$0")/lib.sh"

terminals=${KBUS_SHELL:-$WORK}
exec 8>"$terminals/shell.lock"
! flock -n 8 || die "no machine of 'make shell' runs here: start it in another terminal"
for n in 2 3; do
	exec 9>"$terminals/terminal$n.lock"
	flock -n 9 || continue
	[ -e "$terminals/terminal$n" ] || die "the machine has just begun, or was started another way than by 'make shell'"
	say "Terminal $n of the machine. Enter gives the prompt, Ctrl-X leaves this terminal as it is."
	in_root busybox microcom "$(readlink "$terminals/terminal$n")" || say "The machine has ended."
	exit 0
done
die "the machine has three terminals, and all are in use"
