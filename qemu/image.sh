#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Builds all that one boot needs: the module, the programs, the initramfs. Usage: image.sh [make arguments for the module]
. "$(dirname "$0")/lib.sh"

choose_kernel
step "kbus.ko" "20 s" bash "$TOP/qemu/module.sh" "$@"
step "test programs" "1 min, later 5 s" in_root bash qemu/userspace.sh "$WORK/programs" "$WORK/target"
step "initramfs" "5 s" in_root bash qemu/initramfs.sh "$OUT/initramfs.cpio"  \
	"$WORK/programs" "$OUT/src/kbus.ko"
