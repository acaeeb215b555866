#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Builds what users get (libraries, the command) and its tests. Runs inside the build root. Each part has a script in
# qemu/userland/, which puts its files into OUTPUT and its tests there as executable files NAME.test: they run in the
# machine by "boot.sh RESULT userland" and print KTAP. Usage: userland.sh OUTPUT TARGET-DIRECTORY
set -euo pipefail
out=$1 target=$2
rm -rf "$out"
mkdir -p "$out"
for part in qemu/userland/*.sh; do
	[ ! -e "$part" ] || bash "$part" "$out" "$target"
done
