#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Runs inside the build root. Fetches Debian's newest kernel of a series and prepares a build directory for modules.
# Usage: make-kernel.sh STEP DIRECTORY SERIES FLAVOUR, where STEP is fetch, unpack or prepare.
#
# Result in DIRECTORY: version, src/, build/ (what M= builds against), vmlinuz (Debian's own, unmodified).
set -euo pipefail

what=$1 dir=$2 series=$3 flavour=$4
mkdir -p "$dir"
cd "$dir"

fetch() {
	apt-get update
	# The newest of the series which has all three parts: 7.3.4+deb13 sorts before 7.3.10+deb13.
	version=$(apt-cache pkgnames "linux-headers-$series" | sed -n "s/^linux-headers-\(.*\)-$flavour\$/\1/p" |
		grep -v -- '-\(rt\|cloud\)$' | sort -V | tail -n 1)
	[ -n "$version" ] || { echo "Debian has no linux-headers-$series.*-$flavour"; exit 1; }
	rm -rf deb && mkdir deb
	(cd deb && apt-get download "linux-source-$series" "linux-headers-$version-$flavour" "linux-binary-$version-$flavour")
	echo "$version" >version
}

unpack() {
	rm -rf src headers image && mkdir src headers image
	for part in source headers binary; do
		dpkg-deb -x deb/linux-"$part"-*.deb image
	done
	tar -C src --strip-components=1 -xf image/usr/src/linux-source-"$series".tar.xz
	rm image/usr/src/linux-source-"$series".tar.xz
	cp image/usr/lib/modules/*/vmlinuz vmlinuz
	cp image/usr/src/linux-headers-*/{.config,Module.symvers} headers/
	rm -rf image
}

prepare() {
	local version full
	version=$(<version)
	full=$version-$flavour
	rm -rf build && mkdir build
	cp headers/.config build/.config
	# vermagic must be the shipped kernel's, to the letter: 7.3.4 is the source's, the rest goes here.
	echo "+${full#*+}" >build/localversion
	local make=(make -C src O="$dir/build" CC=x86_64-linux-gnu-gcc-14 -j"$(nproc)")
	"${make[@]}" olddefconfig
	"${make[@]}" modules_prepare
	cp headers/Module.symvers build/
	built=$(<build/include/config/kernel.release)
	[ "$built" = "$full" ] || { echo "the build directory is for $built, the kernel is $full"; exit 1; }
}

"$what"
touch ".$what"
