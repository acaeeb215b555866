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
cp selftests/demo/listener.py "$out/"
