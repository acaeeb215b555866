#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Debian packages, built in the build root. The module is that of the chosen kernel (qemu/kernels). Prints the folder.
# Usage: build.sh [SUFFIX], where SUFFIX is put to the version, and lintian does not look again: for packages to upgrade to.
. "$(dirname "$0")/../qemu/lib.sh"

suffix=${1:-}
choose_kernel
[ -z "$SANITIZER" ] || die "packages are of Debian's own kernels"
kver=$(<"$KERNELDIR/version")-$FLAVOUR
version=$(sed -n '/^\[workspace.package\]/,/^$/s/^version = "\(.*\)"/\1/p' "$TOP/Cargo.toml")
[ -n "$version" ] || die "Cargo.toml has no version"
for place in "lib/c/Makefile" "lib/python/kbus/__init__.py"; do
	grep -qE "^(VERSION|__version__) :?= \"?$version\"?\$" "$TOP/$place" || die "$place has another version than Cargo.toml, which says $version"
done
dir=$WORK/packages$suffix
# At the same place for both, so that the command is compiled once: its flags name it.
made=$WORK/packages.made
source=$made/kbus-$version

tools() { in_root sh -euc 'apt-get update; apt-get install -y --no-install-recommends "$@"' sh "$@"; }

# The sources as they are here, with debian/ beside them.
copy() {
	rm -rf "$made"
	mkdir -p "$source"
	(cd "$TOP" && git ls-files -z | tar --null -cf - --files-from=-) | tar -C "$source" -xf -
	cp -r "$TOP/packaging/debian" "$source/debian"
	sed "s/@KVER@/$kver/g" "$source/debian/control.modules" >>"$source/debian/control"
	rm "$source/debian/control.modules"
	for script in postinst prerm postrm; do
		sed "s/@KVER@/$kver/g" "$source/debian/modules.$script" >"$source/debian/kbus-modules-$kver.$script"
		rm "$source/debian/modules.$script"
	done
	cat >"$source/debian/changelog" <<-END
		kbus ($version$suffix) unstable; urgency=medium

		  * See the history of the sources.

		 -- The KBUS authors <kbus@packages.debian.org>  $(cd "$TOP" && git log -1 --format=%cD)
	END
}

build() {
	in_root env VERSION="$version" KVER="$kver" KO="$OUT/src/kbus.ko" CARGO_HOME="$CACHE/cargo" \
		CARGO_TARGET_DIR="$WORK/target-packages" DEB_BUILD_OPTIONS="nocheck" sh -euc 'cd "$1"; dpkg-buildpackage -b -us -uc' sh "$source"
}

lint() {
	in_root sh -euc 'cd "$1"; lintian --fail-on error,warning --tag-display-limit 0 *.changes' sh "$dir"
}

# The last two make file systems, for system.sh.
needed=(build-essential debhelper dh-dkms dh-python dpkg-dev fakeroot lintian e2fsprogs libarchive13t64)
marker=$ROOT/.packaging-$(sha256sum <<<"${needed[*]}" | cut -c1-12)
[ -e "$marker" ] || { step "packaging tools" "1 min" tools "${needed[@]}" && touch "$marker"; }
step "kbus.ko" "40 s, later 20 s" bash "$TOP/qemu/module.sh"
copy
step "packages" "4 min, later 1 min" build
rm -rf "$dir" "$source"
mv "$made" "$dir"
[ -n "$suffix" ] || step "lintian" "20 s" lint
say "Debian packages of KBUS $version$suffix:"
ls "$dir"/*.deb
