#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Debian's newer kernel for this release; the machine is booted into it afterwards.
set -eu
export DEBIAN_FRONTEND=noninteractive
release=$(. /etc/os-release && echo "$VERSION_CODENAME")
# from the mirror that the box uses already
sed -n "s|^deb \(.*\) $release main.*|deb \1 $release-backports main|p" /etc/apt/sources.list \
	>/etc/apt/sources.list.d/backports.list
apt-get update -q
apt-get install -qy -t "$release-backports" linux-image-amd64 linux-headers-amd64
