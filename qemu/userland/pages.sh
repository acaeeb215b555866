#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# The programs and commands of the pages in docs/, to be run in the machine. qemu/userland/pages/pages.py says how a page
# marks them. C and Rust are compiled here, as the machine has no compiler. Usage: pages.sh OUTPUT TARGET-DIRECTORY
set -euo pipefail
out=$1 target=$2
rm -rf "$out/pages" "$target/pages"
mkdir -p "$out/pages/docs" "$out/pages/programs" "$target/pages"
pages=(docs/howto/*.md docs/why.md docs/README.md CONTRIBUTING.md)
[ ! -e docs/tutorial.md ] || pages+=(docs/tutorial.md)
cp "${pages[@]}" "$out/pages/docs/"

python3 qemu/userland/pages/pages.py --extract "$target/pages" "${pages[@]}"
for program in "$target"/pages/*.c; do
	[ -e "$program" ] || continue
	[ -e "$target/pages/libkbus.a" ] || make -s -C lib/c CC=gcc-14 CFLAGS="-O2 -Werror" O="$target/pages" \
		"$target/pages/libkbus.a"
	gcc-14 -Wall -Wextra -pedantic -Werror -std=c11 -O2 -static -Ilib/c -Iuapi -o "$out/pages/programs/$(basename "$program" .c)" \
		"$program" "$target/pages/libkbus.a"
done
for program in "$target"/pages/*.rs; do
	[ -e "$program" ] || continue
	triple=x86_64-unknown-linux-gnu
	built=$target/$triple/release
	[ -n "${rust:-}" ] || RUSTFLAGS="-C target-feature=+crt-static" CARGO_TARGET_DIR=$target \
		cargo build --locked --release --target $triple -p kbus
	rust=built
	rustc --edition 2021 -O -D warnings -C target-feature=+crt-static --target $triple -L "dependency=$built/deps" \
		--extern "kbus=$built/libkbus.rlib" -o "$out/pages/programs/$(basename "$program" .rs)" "$program"
done
install -m 755 qemu/userland/pages/pages.py "$out/pages.test"
