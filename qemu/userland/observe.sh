#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# The half of the command kbus that observes (monitor, record, replay, top, doctor, why, bench) and its tests.
# Usage: observe.sh OUTPUT TARGET-DIRECTORY
set -euo pipefail
out=$1 target=$2
triple=x86_64-unknown-linux-gnu
export RUSTFLAGS="-C target-feature=+crt-static" CARGO_TARGET_DIR=$target
mkdir -p "$out/observe"
cargo build --locked --release --target "$triple" -p kbus-tools
strip -o "$out/kbus" "$target/$triple/release/kbus"
cp tools/kbus/tests/observe/*.py "$out/observe/"

# What needs no bus is tested here: files that another program has written, and what Wireshark makes of ours.
python3 -B tools/kbus/tests/observe/files.py "$out/kbus" tools/wireshark/kbus.lua

cat >"$out/observe.test" <<-'END'
	#!/bin/sh
	PYTHONPATH=/userland/python exec python3 -B /userland/observe/machine.py /userland/kbus
END
chmod +x "$out/observe.test"
