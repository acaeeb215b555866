#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Builds all that one boot needs: the module, the programs, the initramfs. Usage: image.sh [make arguments for the module]
. "$(dirname "$0")/lib.sh"

choose_kernel

# The kernel's own overlayfs, which Debian has as a module: from the source of that kernel, on which tests mount layers.
overlay() {
	mkdir -p "$OUT/overlayfs"
	cp -ru "$KERNELSRC/fs/overlayfs/." "$OUT/overlayfs/"
	in_root make -C "$KERNELSRC" O="$KERNELDIR/build" M="$OUT/overlayfs" "${COMPILER[@]}" modules
}

# A module for one test. It is for kernels with ftrace, as those with sanitizers are not.
taken() {
	mkdir -p "$OUT/taken"
	cp -u "$TOP"/selftests/taken/* "$OUT/taken/"
	in_root make -C "$KERNELSRC" O="$KERNELDIR/build" M="$OUT/taken" "${COMPILER[@]}" modules
}

step "kbus.ko" "40 s, later 20 s" bash "$TOP/qemu/module.sh" "$@"
step "test programs" "4 min, later 1 min" in_root bash qemu/userspace.sh "$WORK/programs" "$WORK/target"
# The libraries and tools are the same for all kernels.
made=$WORK/programs/userland.made
sources=(lib tools uapi docs packaging qemu/userland qemu/userland.sh Cargo.lock)
if [ -n "${KBUS_NO_USERLAND:-}" ]; then
	: # The demonstration needs none of them.
elif [ ! -e "$made" ] || [ -n "$(cd "$TOP" && find "${sources[@]}" -type f -newer "$made" -print -quit)" ]; then
	touch "$made.part"
	step "libraries and tools" "3 min, later 20 s" in_root bash qemu/userland.sh "$WORK/programs/userland" "$WORK/target"
	mv "$made.part" "$made"
fi
modules=("$OUT/src/kbus.ko")
# A kernel with sanitizers has it built in.
if [ -z "$SANITIZER" ]; then
	step "overlay.ko" "30 s, later 2 s" overlay
	step "taken.ko" "5 s" taken
	modules+=("$OUT/overlayfs/overlay.ko" "$OUT/taken/taken.ko")
fi
step "initramfs" "5 s" in_root bash qemu/initramfs.sh "$OUT/initramfs.cpio" "$WORK/programs" "${modules[@]}"
