#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Builds the programs that run inside the machine, statically, in the build root. Runs inside the build root.
# Usage: userspace.sh OUTPUT TARGET-DIRECTORY
set -euo pipefail
out=$1 target=$2
mkdir -p "$out"
export RUSTFLAGS="-C target-feature=+crt-static" CARGO_TARGET_DIR=$target
cargo build --locked --release --target x86_64-unknown-linux-gnu -p kbus-selftests
for bin in kbus-selftests kbus-demo kbus-bench kbus-fuzz; do
	cp "$target/x86_64-unknown-linux-gnu/release/$bin" "$out/"
done
for program in replier merge; do
	gcc-14 -O2 -Wall -Wextra -Werror -static -Iuapi -o "$out/$program" "selftests/demo/$program.c"
done
# The same program in 64 and in 32 bits. There is no C library of 32 bits here, and it needs none.
for bits in 64 32; do
	gcc-14 -m$bits -O2 -Wall -Wextra -Werror -Wno-missing-field-initializers -ffreestanding -nostdlib -static \
		-fno-pie -no-pie -fno-stack-protector -fno-tree-loop-distribute-patterns \
		-Iuapi -idirafter /usr/include/x86_64-linux-gnu -o "$out/kbus-abi$bits" selftests/abi/abi.c
done
cp selftests/demo/listener.py "$out/"
