#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# The command kbus, statically, its man pages, and its tests. Runs inside the build root.
# Usage: command.sh OUTPUT TARGET-DIRECTORY
set -euo pipefail
out=$1 target=$2
triple=x86_64-unknown-linux-gnu
pages=$target/kbus-man
export RUSTFLAGS="-C target-feature=+crt-static" CARGO_TARGET_DIR=$target

cargo build --locked --release --target "$triple" -p kbus-tools
mkdir -p "$out/command"
strip -o "$out/kbus" "$target/$triple/release/kbus"
cp tools/kbus/tests/machine/*.py "$out/command/"

# A page for the command and for each subcommand that its help names, without a complaint.
rm -rf "$pages"
"$out/kbus" generate man "$pages"
"$out/kbus" generate completions "$pages"
[ -s "$pages/kbus.bash" ] && [ -s "$pages/_kbus" ] && [ -s "$pages/kbus.fish" ]
bash -n "$pages/kbus.bash"
"$out/kbus" --help | awk '/^Commands:/ { on = 1; next } /^$/ { on = 0 } on && $1 != "help" { print $1 }' |
	while read -r name; do [ -s "$pages/kbus-$name.1" ] || { echo "there is no page kbus-$name(1)"; exit 1; }; done
# Pages of other sections are not installed here.
complaints=$(mandoc -T lint "$pages"/*.1 | grep -v 'referenced manual not found' || :)
[ -z "$complaints" ] || { echo "$complaints"; exit 1; }

cat >"$out/command.test" <<-'END'
	#!/bin/sh
	PATH=/userland:$PATH exec python3 -u /userland/command/run.py
END
chmod +x "$out/command.test"
