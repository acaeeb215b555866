#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Makes Debian's own system, small, with the stock kernel and systemd, as a tar archive.
# Usage: make.sh ARCHIVE KERNEL-RELEASE [PACKAGE]...
set -euo pipefail

archive=$1 release=$2
shift 2
more=$(IFS=, && echo "$*")
here=$(cd "$(dirname "$0")" && pwd -P)
mirror=${DEBIAN_MIRROR:-http://deb.debian.org}

# python3 is what python3-kbus depends on: the system has no network when it runs. apt-get alone makes the initramfs of
# the kernel's package, which is not booted from: what the disc needs is built into that kernel.
mmdebstrap --variant=apt --format=tar --include="systemd-sysv,udev,kmod,python3,initramfs-tools,linux-base/trixie-backports,linux-image-$release${more:+,$more}" \
	--keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
	--aptopt='Acquire::Languages "none"' --aptopt='Acquire::Retries "3"' \
	--customize-hook="copy-in $here/trial.service $here/trial.target /etc/systemd/system" \
	--customize-hook='echo kbus >"$1/etc/hostname"' \
	--customize-hook='echo "/dev/nvme0n1 / ext4 defaults 0 0" >"$1/etc/fstab"' \
	--customize-hook='mkdir "$1/trial" && echo "/dev/vda /trial ext4 ro 0 0" >>"$1/etc/fstab"' \
	--customize-hook='echo uninitialized >"$1/etc/machine-id"' \
	--customize-hook='rm "$1/etc/apt/sources.list"' \
	--customize-hook='ln -s /etc/systemd/system/trial.target "$1/etc/systemd/system/default.target"' \
	--customize-hook='ln -s /dev/null "$1/etc/systemd/system/serial-getty@ttyS0.service"' \
	--customize-hook='ln -s /dev/null "$1/etc/systemd/system/systemd-firstboot.service"' \
	trixie "$archive" \
	"deb $mirror/debian trixie main" "deb $mirror/debian trixie-updates main" \
	"deb $mirror/debian trixie-backports main" "deb $mirror/debian-security trixie-security main"
