#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The honest test of the README: a Debian 12 with nothing but git, make and python3, a clone of
# what is committed here, and the README's commands in it.
#
#   tests/fresh/debian12.sh [-d FOLDER] [-k] [GOAL...]     (default goals: demo test)
#
#   -d FOLDER  where the tree goes (default: a new folder below /var/tmp); it must not exist,
#              or be a tree that -k left: then only the clone is made anew
#   -k         keep the tree
#
# The untouched tree is kept as a tar file (OMR_FRESH_BASE, default /var/tmp/omr-debian12.tar) for
# the next time. Debian mirror, package index and certificates are those of the host. Everything
# runs in its own mount and process namespace, so that nothing stays mounted or running.

set -euo pipefail
readonly PROJECT=$(realpath "$(dirname "$0")/../..")
readonly BASE=${OMR_FRESH_BASE:-/var/tmp/omr-debian12.tar}
readonly SUITE=bookworm
readonly CERTIFICATES=/etc/ssl/certs/ca-certificates.crt
readonly HOST_CERTIFICATES=/etc/host-certificates.crt # not replaced by ca-certificates' trigger

die() {
	printf 'fresh: %s\n' "$*" >&2
	exit 1
}

mirror() {
	apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' |
		head -n 1
}

make_base() {
	[ ! -e "$BASE" ] || return 0
	command -v debootstrap >/dev/null || die "debootstrap is missing: apt-get install debootstrap"
	local tree uri
	uri=$(mirror)
	[ -n "$uri" ] || die "no Debian mirror in /etc/apt/sources.list*: run apt-get update"
	tree=$(mktemp -d /var/tmp/omr-base.XXXXXX)
	echo "fresh: debootstrap $SUITE"
	debootstrap --variant=minbase --include=ca-certificates,git,make,python3 \
		"$SUITE" "$tree" "$uri" >/dev/null || die "debootstrap failed in $tree"
	tar -C "$tree" -cf "$BASE.part" . && mv "$BASE.part" "$BASE"
	rm -rf "$tree"
}

# What a machine in this network would have been given by its administrator.
copy_host_settings() {
	local tree=$1 file
	cp -L /etc/resolv.conf /etc/hosts "$tree/etc/"
	[ ! -e "$CERTIFICATES" ] || cp -L "$CERTIFICATES" "$tree$HOST_CERTIFICATES"
	for file in /etc/pip.conf "${XDG_CONFIG_HOME:-$HOME/.config}/pip/pip.conf"; do
		if [ -e "$file" ]; then
			grep -vE '^ *(cert|find-links) *=' "$file" >"$tree/etc/pip.conf" || true
		fi
	done
}

# inside TREE GOAL...: runs as process 1 of its own namespaces.
inside() {
	local tree=$1 name
	shift
	mount -t proc proc "$tree/proc"
	mount -t sysfs sysfs "$tree/sys"
	mount --rbind /dev "$tree/dev"
	mount -t tmpfs tmpfs "$tree/run"
	mount -t tmpfs tmpfs "$tree/tmp"
	local settings=(HOME=/root TERM="${TERM:-dumb}" PATH=/usr/sbin:/usr/bin:/sbin:/bin)
	for name in http_proxy https_proxy no_proxy PIP_INDEX_URL PIP_EXTRA_INDEX_URL \
		PIP_TRUSTED_HOST PIP_DEFAULT_TIMEOUT CI; do
		[ -z "${!name:-}" ] || settings+=("$name=${!name}")
	done
	[ ! -e "$tree$HOST_CERTIFICATES" ] ||
		settings+=(PIP_CERT="$HOST_CERTIFICATES" SSL_CERT_FILE="$HOST_CERTIFICATES")
	for name in "$@"; do
		echo "fresh: make $name"
		chroot "$tree" env -i "${settings[@]}" make -C /omrfast "$name" ||
			die "make $name failed in the fresh tree"
		echo "fresh: make $name took ${SECONDS} s"
		SECONDS=0
	done
}

main() {
	local tree='' keep=no option
	while getopts d:k option; do
		case $option in
		d) tree=$OPTARG ;;
		k) keep=yes ;;
		*) exit 2 ;;
		esac
	done
	shift $((OPTIND - 1))
	[ $# -gt 0 ] || set -- demo test
	[ "$(id -u)" = 0 ] || die "root is needed: use sudo"
	make_base
	[ -n "$tree" ] || tree=$(mktemp -d /var/tmp/omr-fresh.XXXXXX)
	# Expanded now: at exit the local variable is gone.
	[ "$keep" = yes ] || trap "rm -rf --one-file-system '$tree'" EXIT
	if [ ! -e "$tree/etc/debian_version" ]; then
		mkdir -p "$tree"
		tar -C "$tree" -xf "$BASE"
		copy_host_settings "$tree"
	fi
	rm -rf "$tree/omrfast"
	git clone -q "$PROJECT" "$tree/omrfast"
	unshare --mount --propagation private --pid --fork --kill-child \
		"$0" --inside "$tree" "$@"
	echo "fresh: passed ($*)"
}

if [ "${1:-}" = --inside ]; then
	shift
	inside "$@"
else
	main "$@"
fi
