#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# The tests and the examples of lib/kbus, the Rust crate. Usage: rust.sh OUTPUT TARGET-DIRECTORY
set -euo pipefail
out=$1 target=$2
triple=x86_64-unknown-linux-gnu
export RUSTFLAGS="-C target-feature=+crt-static" CARGO_TARGET_DIR=$target
build=(--locked --release --target "$triple" -p kbus --features tokio)
mkdir -p "$out/rust"

# The tests: one program.
tests=$(cargo test "${build[@]}" --test machine --no-run --message-format=json |
	sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
strip -o "$out/rust/tests" "$tests"

# The examples of the documentation: rustdoc makes one program of them, and would run it here, where there is no
# bus. "true" runs instead. If it makes several, one of the examples does not compile.
examples=$target/kbus-examples
rm -rf "$examples"
RUSTC_BOOTSTRAP=1 RUSTDOCFLAGS="$RUSTFLAGS -Zunstable-options --persist-doctests=$examples --runtool=/bin/true" \
	cargo test "${build[@]}" --doc
strip -o "$out/rust/examples" "$examples/merged_doctest_2024/rust_out"

# The program of languages.test.
cargo build "${build[@]}" --example peer
strip -o "$out/peer-rust" "$target/$triple/release/examples/peer"

# How many there are is known now, and announced before the first one runs.
in_tests=$("$out/rust/tests" --ignored --list --format terse | grep -c ': test$')
in_examples=$(grep -c 'test::StaticTestFn($' "$examples/merged_doctest_2024/doctest_runner_2024.rs")
count=$((in_tests + in_examples))
sed "s/@COUNT@/$count/" >"$out/rust.test" <<'END'
#!/bin/busybox sh
# SPDX-License-Identifier: GPL-2.0
# Runs the two programs and says what they say as KTAP. Each example has a process of its own, for which the program
# starts itself.
export RUSTDOC_DOCTEST_BIN_PATH=rust/examples
run() {
	"$@" 2>&1
	echo "# exit $?"
}
{ run rust/tests --ignored --test-threads=1; run rust/examples; } | awk '
	BEGIN { print "TAP version 14"; print "1..@COUNT@" }
	/^test .* \.\.\. (ok|FAILED|ignored)/ {
		name = $0
		sub(/^test /, "", name)
		sub(/ \.\.\. .*/, "", name)
		# An example is named by its file, item and line.
		if (sub(/^lib\/kbus\/src\/[^ ]* - /, "examples::", name)) gsub(/ /, "", name)
		n++
		print (/ ok$/ ? "ok" : "not ok") " " n " rust::" name
		fflush()
		next
	}
	/^$/ { next }
	/^# exit 0/ { next }
	/^# exit / { print; next }
	{ print "# " $0 }'
END
chmod +x "$out/rust.test"
