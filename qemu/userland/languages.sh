#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# The test of every language with every other. Runs inside the build root. Usage: languages.sh OUTPUT TARGET-DIRECTORY
set -euo pipefail
out=$1 target=$2
mkdir -p "$target"
mypy --strict --cache-dir "$target/mypy-languages" --no-error-summary qemu/userland/languages/driver.py
cp qemu/userland/languages/driver.py "$out/languages.py"
cat >"$out/languages.test" <<-END
	#!/bin/sh
	exec python3 /userland/languages.py
END
chmod +x "$out/languages.test"
