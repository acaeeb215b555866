#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Makes the build root: Debian trixie with backports, holding the compilers that built Debian's kernel.
# Usage: make-root.sh DIRECTORY PACKAGE...
set -euo pipefail

root=$1
shift
mirror=${DEBIAN_MIRROR:-http://deb.debian.org}
partial=$root.partial

# An interrupted run leaves a partial root: nothing in it can be trusted.
rm -rf --one-file-system "$partial"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
mmdebstrap --variant=apt --include="$(tr ' ' ',' <<<"$*")" --keyring="$keyring" \
	--aptopt='Acquire::Languages "none"' --aptopt='Acquire::Retries "3"' \
	--dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
	--dpkgopt='path-exclude=/usr/share/doc/*' \
	trixie "$partial" \
	"deb $mirror/debian trixie main" "deb $mirror/debian trixie-updates main" \
	"deb $mirror/debian trixie-backports main" "deb $mirror/debian-security trixie-security main"
ln -sf gcc-14 "$partial/usr/bin/gcc"
ln -sf x86_64-linux-gnu-gcc-14 "$partial/usr/bin/x86_64-linux-gnu-gcc"
ln -sf gcc-14 "$partial/usr/bin/cc"
date -u +%FT%TZ >"$partial/.made"
mv "$partial" "$root"
