#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# For everybody who has no package: puts what 'make install' has built where programs look for it, or takes it away.
# Usage: install.sh VERSION PROGRAM LIBRARIES [MODULE RELEASE], where LIBRARIES is the build folder of lib/c; or
# install.sh --uninstall. From the environment: DESTDIR, put before each path, PREFIX, SYSCONFDIR, LIBDIR and PYTHONDIR.
#
# PREFIX/share/kbus/installed lists each file, with its checksum.
set -eu
cd "$(dirname "$0")/.."
: "${DESTDIR:=}" "${PREFIX:=/usr/local}" "${SYSCONFDIR:=/etc}" "${LIBDIR:=$PREFIX/lib}"
list=$DESTDIR$PREFIX/share/kbus/installed

die() {
	echo "error: $*" >&2
	exit 1
}

# Where this system's Python looks for what belongs to that prefix.
python_dir() {
	python3 -c 'import site, sys, sysconfig
prefix = sys.argv[1]
there = [p for p in site.getsitepackages() if p.startswith(prefix + "/lib/python3")]
print(there[0] if there else sysconfig.get_path("purelib", "posix_prefix", {"base": prefix}))' "$PREFIX"
}

# A file of configuration that somebody has changed is his: the new one is put beside it, and no uninstall removes it.
changed() { # PATH
	[ -e "$DESTDIR$1" ] && [ "$(sha256sum <"$DESTDIR$1")" != "$(sed -n "s|  $1\$|  -|p" "$list" 2>/dev/null)" ]
}

configuration() { # PATH
	case $1 in
	"$SYSCONFDIR"/*) ;;
	*) false ;;
	esac
}

uninstall() {
	[ -e "$list" ] || die "there is no $list, so nothing of KBUS was installed below '$DESTDIR$PREFIX' by 'make install'"
	while read -r _ path; do
		if configuration "$path" && changed "$path"; then
			echo "$DESTDIR$path was changed, and is kept"
			continue
		fi
		rm -f "$DESTDIR$path"
		# Folders that are empty now, up to the prefix.
		folder=$(dirname "$path")
		while [ "$folder" != / ] && [ "$folder" != "$PREFIX" ] && rmdir "$DESTDIR$folder" 2>/dev/null; do
			folder=$(dirname "$folder")
		done
	done <"$list"
	rm "$list"
	rmdir "$(dirname "$list")" 2>/dev/null || :
	refresh
}

# Not when what is installed is for another machine, or for a package.
refresh() {
	[ -z "$DESTDIR" ] || return 0
	ldconfig || :
	[ -z "${release:-}" ] || depmod "$release"
}

if [ "${1:-}" = --uninstall ]; then
	release=$(sed -n 's|.*  /lib/modules/\([^/]*\)/.*|\1|p' "$list" 2>/dev/null || :)
	uninstall
	exit
fi

[ $# -ge 3 ] || die "see the head of packaging/install.sh"
version=$1 program=$2 libraries=$3 module=${4:-} release=${5:-}
: "${PYTHONDIR:=$(python_dir)}"
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT

ZSHDIR=zsh/site-functions sh packaging/command-files "$program" "$stage$PREFIX"
make -s -C lib/c VERSION="$version" O="$libraries" PREFIX="$PREFIX" LIBDIR="$LIBDIR" DESTDIR="$stage" install
# Wireshark looks below the lib folder that it was built for.
install -D -m 644 tools/wireshark/kbus.lua "$stage$LIBDIR/wireshark/plugins/kbus.lua"
mkdir -p "$stage$PYTHONDIR/kbus"
cp lib/python/kbus/*.py lib/python/kbus/py.typed "$stage$PYTHONDIR/kbus/"
for folder in modules-load.d tmpfiles.d; do
	install -D -m 644 packaging/$folder/kbus.conf "$stage$PREFIX/lib/$folder/kbus.conf"
done
for folder in modprobe.d sysctl.d; do
	install -D -m 644 packaging/$folder/kbus.conf "$stage$SYSCONFDIR/$folder/kbus.conf"
done
examples=$stage$PREFIX/share/doc/kbus/examples
mkdir -p "$examples"
for file in packaging/systemd/*; do
	sed "s|/usr/bin/kbus|$PREFIX/bin/kbus|; s|/usr/share/doc/kbus-tools/|$PREFIX/share/doc/kbus/|" "$file" >"$examples/$(basename "$file")"
done
chmod 755 "$examples/kbus-kept"
[ -z "$module" ] || install -D -m 644 "$module" "$stage/lib/modules/$release/updates/kbus.ko"

(cd "$stage" && find . ! -type d | sort) >"$stage.list"
new=$stage.installed
: >"$new"
while read -r path; do
	path=${path#.}
	mkdir -p "$DESTDIR$(dirname "$path")"
	if configuration "$path" && changed "$path"; then
		cp -P "$stage$path" "$DESTDIR$path.new"
		echo "$DESTDIR$path was changed, and is kept: the new one is $DESTDIR$path.new"
		path=$path.new
	else
		# By another name first: a program or library that runs is not written into.
		cp -P "$stage$path" "$DESTDIR$path.kbus-new"
		mv -f "$DESTDIR$path.kbus-new" "$DESTDIR$path"
	fi
	# What a link points to may come later in the list.
	if [ -L "$DESTDIR$path" ]; then sum=link; else sum=$(sha256sum <"$DESTDIR$path" | cut -d' ' -f1); fi
	echo "$sum  $path" >>"$new"
done <"$stage.list"
# What an earlier one has installed and this one has not, a module for instance, still belongs to the list.
[ ! -e "$list" ] || while read -r sum path; do
	grep -q "  $path\$" "$new" || [ ! -e "$DESTDIR$path" ] || echo "$sum  $path" >>"$new"
done <"$list"
install -D -m 644 "$new" "$list"
rm -f "$new" "$stage.list"
refresh
echo "KBUS $version is installed below '$DESTDIR$PREFIX'; 'make uninstall' with the same variables removes it."
[ -n "$module" ] || echo "The module is not among it: see KDIR in 'make help'."
