#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# The commands of docs/tracing.md, run in the machine. Usage: tracing.sh OUTPUT TARGET-DIRECTORY
set -euo pipefail
out=$1
mkdir -p "$out/tracing"
cp docs/tracing.md "$out/tracing/"
install -m 755 qemu/userland/tracing/tracing.py "$out/tracing.test"
