#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Runs inside the build root. Builds a kernel with sanitizers from Debian's source, with clang, as KASAN needs for Rust.
# Usage: make-debug-kernel.sh STEP DIRECTORY SOURCE FRAGMENT, where STEP is configure or build.
#
# Result in DIRECTORY: version, build/ (what M= builds against), vmlinuz.
set -euo pipefail

what=$1 dir=$2 src=$3 fragment=$4
mkdir -p "$dir/build"
make=(make -C "$src" O="$dir/build" LLVM=-19 -j"$(nproc)")

configure() {
	"${make[@]}" tinyconfig
	(cd "$dir/build" && "$src/scripts/kconfig/merge_config.sh" -m .config "$fragment")
	"${make[@]}" olddefconfig
	# An option whose conditions are not met goes without a word: insist on each.
	local line missing=0
	while read -r line; do
		case $line in
		CONFIG_*=n) line="# ${line%=n} is not set" ;;
		CONFIG_*=*) ;;
		'# CONFIG_'*' is not set') ;;
		*) continue ;;
		esac
		# What does not exist at all is "not set" too.
		grep -qxF "$line" "$dir/build/.config" && continue
		[[ $line == '# '* ]] && ! grep -q "^${line:2:-11}=" "$dir/build/.config" && continue
		echo "did not take: $line"
		missing=1
	done <"$fragment"
	[ "$missing" -eq 0 ]
}

build() {
	"${make[@]}" bzImage modules
	cp "$dir/build/arch/x86/boot/bzImage" "$dir/vmlinuz"
	cp "$dir/build/include/config/kernel.release" "$dir/version"
}

"$what"
touch "$dir/.$what"
