#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# What kbus monitor and kbus top draw on a terminal, tested and as pictures for the pages (qemu/pictures.sh).
# Usage: pictures.sh OUTPUT TARGET-DIRECTORY
set -euo pipefail
out=$1
mkdir -p "$out/pictures"
cp qemu/userland/pictures/*.py "$out/pictures/"

cat >"$out/pictures.test" <<-'END'
	#!/bin/sh
	PATH=/userland:$PATH PYTHONPATH=/userland/python exec python3 -B /userland/pictures/pictures.py
END
chmod +x "$out/pictures.test"
