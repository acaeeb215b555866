#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Plays the story of selftests/src/bin/kbus-demo.rs in the machine.
. "$(dirname "$0")/lib.sh"

choose_kernel
KBUS_NO_USERLAND=1 bash "$TOP/qemu/image.sh"
say "Booting Linux $(<"$KERNELDIR/version"), unmodified, and loading kbus.ko"
bash "$TOP/qemu/boot.sh" "$LOGS/demo" demo
grep -q '^# exit 0$' "$LOGS/demo" || die "the story did not reach its end"
say "That was the demonstration. Next: 'make shell' gives a prompt in such a machine, and docs/tutorial.md says what to type"
