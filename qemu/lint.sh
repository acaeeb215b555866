#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# One lint, or all of them. Usage: lint.sh [rustfmt|clippy|checkpatch|sparse|shell]
. "$(dirname "$0")/lib.sh"

choose_kernel
rust_files() { (cd "$TOP" && find net -name '*.rs' ! -path '*/target/*'); }

lint_rustfmt() {
	# shellcheck disable=SC2046
	in_root rustfmt --edition 2021 --check --config-path "$KERNELDIR/src/.rustfmt.toml" $(rust_files)
	in_root cargo fmt --check -p kbus-selftests -p kbus-uapi
}

lint_clippy() {
	in_root env CARGO_TARGET_DIR="$WORK/target" cargo clippy --locked --workspace --all-targets -- -D warnings
	bash "$TOP/qemu/module.sh" >/dev/null
	# Kbuild sees no reason to compile again what it has compiled: say that there is one.
	touch "$OUT/src/net/kbus_main.rs"
	bash "$TOP/qemu/module.sh" CLIPPY=1 >"$WORK/clippy.out" 2>&1 || { cat "$WORK/clippy.out"; return 1; }
	! grep -A12 -E '^(warning|error)' "$WORK/clippy.out"
}

lint_checkpatch() {
	in_root perl "$KERNELDIR/src/scripts/checkpatch.pl" --no-tree --terse --strict --show-types --max-line-length=100 \
		--ignore BIT_MACRO,LINE_SPACING -f net/sys/helpers.c net/sys/helpers.h uapi/linux/kbus.h selftests/demo/replier.c
}

lint_sparse() {
	touch "$OUT/src/net/sys/helpers.c"
	bash "$TOP/qemu/module.sh" C=2 CF=-Wsparse-error >"$WORK/sparse.out" 2>&1 || { cat "$WORK/sparse.out"; return 1; }
	! grep -E 'helpers\.[ch]:.*(warning|error)' "$WORK/sparse.out"
}

lint_shell() {
	for script in "$TOP"/qemu/*.sh "$TOP/.ci/run"; do
		bash -n "$script"
	done
	busybox_syntax=$(in_root busybox sh -n qemu/init 2>&1) || { echo "$busybox_syntax"; return 1; }
}

if [ $# -eq 0 ]; then
	set -- rustfmt clippy checkpatch sparse shell
fi
for lint; do
	"lint_$lint"
done
