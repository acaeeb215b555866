#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Unpacks Debian packages and what they depend on into a folder, from which the programs of bench-peers are compiled and run.
# Nothing in it is configured or started. The file "packages" in it lists them with their versions. Usage: make-root.sh DIRECTORY PACKAGE...
set -euo pipefail

root=$1
shift
mirror=${DEBIAN_MIRROR:-http://deb.debian.org}
partial=$root.partial

# An interrupted run leaves a partial root: nothing in it can be trusted.
rm -rf --one-file-system "$partial"
mmdebstrap --variant=extract --include="$(tr ' ' ',' <<<"$*")" \
	--keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
	--aptopt='Acquire::Languages "none"' --aptopt='Acquire::Retries "3"' --aptopt='APT::Install-Recommends "false"' \
	--extract-hook='ls "$1/var/cache/apt/archives" >"$1/packages"' \
	trixie "$partial" \
	"deb $mirror/debian trixie main" "deb $mirror/debian trixie-updates main" \
	"deb $mirror/debian trixie-backports main" "deb $mirror/debian-security trixie-security main"
mv "$partial" "$root"
