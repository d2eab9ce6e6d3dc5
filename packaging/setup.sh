#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Everything between a fresh Debian 12 (or newer) and a working .venv/bin/omrfast:
# Debian packages, a virtual environment, Python packages, the shim and the BPF object.
#
# Each step is skipped while what it depends on has not changed (a hash in .venv/stamps), so that
# the second run takes a moment. Each failure is one line that says what to do; the whole output
# of the step that failed is in build/setup.log.

set -euo pipefail
cd "$(dirname "$0")/.."

readonly PYTHON=/usr/bin/python3 # Debian's own: only it sees python3-bpfcc
readonly STAMPS=.venv/stamps
readonly LOG=build/setup.log
readonly NEED_KIB=$((1536 * 1024)) # what a fresh machine takes, rounded up

step() { printf 'setup: %s\n' "$*"; }

die() {
	printf 'setup: %s\n' "$*" >&2
	exit 1
}

# Somebody's own Python settings must not leak into the environment; package indexes may.
unset PYTHONPATH PYTHONHOME PIP_USER PIP_TARGET PIP_PREFIX PIP_ROOT PIP_REQUIRE_VIRTUALENV
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

# --- may this machine run it? ------------------------------------------------------------------

check_machine() {
	[ "$(id -u)" = 0 ] || die "root is needed (packages, BPF, network namespaces): use sudo make $*"
	command -v apt-get >/dev/null && command -v dpkg-query >/dev/null ||
		die "this is not Debian (no apt-get): install the packages named in" \
			"packaging/debian-packages.txt on a Debian 12 or newer and run make there"
	[ -r /proc/sys/kernel/osrelease ] || die "/proc is not mounted: mount -t proc proc /proc"
	local release major minor
	release=$(</proc/sys/kernel/osrelease)
	IFS=.- read -r major minor _ <<<"$release"
	((major > 6 || (major == 6 && minor >= 1))) ||
		die "kernel $release is too old: boot Linux 6.1 or newer (Debian 12 has 6.1)"
	[ -e /proc/sys/net/mptcp/enabled ] ||
		die "kernel $release has no Multipath TCP: boot one built with CONFIG_MPTCP=y" \
			"(Debian's own kernels are)"
	[ -d /sys/kernel ] || die "/sys is not mounted: mount -t sysfs sysfs /sys"
	[ -r /sys/kernel/btf/vmlinux ] ||
		die "kernel $release has no BTF (/sys/kernel/btf/vmlinux): boot one built with" \
			"CONFIG_DEBUG_INFO_BTF=y (Debian's own kernels are)"
}

# Called only when something has to be installed or built.
check_space() {
	local folder free
	for folder in . /usr; do
		free=$(df -Pk "$folder" | awk 'END { print $4 }')
		((free >= NEED_KIB)) ||
			die "$(realpath "$folder") has $((free / 1024)) MiB free, $((NEED_KIB / 1024)) are" \
				"needed: make room on that file system"
	done
}

# --- stamps ------------------------------------------------------------------------------------

# digest FILE...: one hash of the files' names and contents and of this folder's place.
digest() { { pwd && sha256sum "$@"; } | sha256sum | cut -d' ' -f1; }

# fresh STEP HASH: did STEP succeed with this hash?
fresh() { [ "$(cat "$STAMPS/$1" 2>/dev/null)" = "$2" ]; }

stamp() { mkdir -p "$STAMPS" && echo "$2" >"$STAMPS/$1"; }

# logged COMMAND...: its output goes to the log only.
logged() {
	local code=0
	"$@" >"$LOG.last" 2>&1 || code=$?
	{ printf '\n$ %s\n' "$*" && cat "$LOG.last"; } >>"$LOG"
	return "$code"
}

# reason: the words of the last command that most likely say why it failed.
reason() {
	local pattern words
	for pattern in '^[EW]: Failed to fetch.*' "(No space left|Temporary failure|Name or service)[^')]*" \
		'^ *[^ ]+:[0-9]+: (fatal )?error: .*' '^ *(E|ERROR|error): .*' '.*[Ee]rror: .*' '.+'; do
		words=$(grep -aoE "$pattern" "$LOG.last" | tail -n 1 || true)
		[ -z "$words" ] || break
	done
	printf '%s' "${words#"${words%%[![:space:]]*}"}"
}

# --- 1. Debian packages ------------------------------------------------------------------------

installed() {
	dpkg-query -W -f '${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed
}

# bcc compiles against a header tree: the running kernel's own where Debian has it, else the
# distribution's (the data path uses nothing but packets and UAPI structs).
headers_package() {
	local own meta
	own="linux-headers-$(uname -r)"
	meta="linux-headers-$(dpkg --print-architecture)"
	if installed "$own" || [ -e "/lib/modules/$(uname -r)/build/Makefile" ]; then
		return
	elif apt-cache show "$own" >/dev/null 2>&1; then
		echo "$own"
	elif ! installed "$meta"; then
		echo "$meta"
	fi
}

missing_packages() {
	local name
	while read -r name; do
		installed "$name" || echo "$name"
	done < <(grep -vE '^(#|$)' packaging/debian-packages.txt)
	headers_package
}

install_packages() {
	local missing trouble=
	mapfile -t missing < <(missing_packages)
	if ((${#missing[@]} == 0)); then
		step "Debian packages: all there"
		return
	fi
	check_space
	step "Debian packages: updating the package lists"
	logged apt-get update -q -o APT::Update::Error-Mode=any || trouble=$(reason)
	mapfile -t missing < <(missing_packages) # the lists may name the kernel's own headers now
	step "Debian packages: installing ${missing[*]}"
	logged apt-get install -q -y --no-install-recommends "${missing[@]}" ||
		die "Debian packages could not be installed: ${trouble:-$(reason)} – check the network" \
			"and /etc/apt/sources.list* ($LOG)"
}

# --- 2. the virtual environment ----------------------------------------------------------------

make_venv() {
	local version
	version=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
	"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
		die "$PYTHON is Python $version: Debian 12 or newer is needed (Python 3.11)"
	if [ -x .venv/bin/python ] &&
		grep -qx 'home = /usr/bin' .venv/pyvenv.cfg &&
		grep -qx 'include-system-site-packages = true' .venv/pyvenv.cfg &&
		.venv/bin/python -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$version')"; then
		step "virtual environment: there (.venv, Python $version)"
		return
	fi
	check_space
	step "virtual environment: creating .venv with $PYTHON $version"
	rm -rf .venv
	logged "$PYTHON" -m venv --system-site-packages .venv ||
		die "the virtual environment could not be made: $(reason) ($LOG)"
}

# --- 3. Python packages ------------------------------------------------------------------------

# requirements EXTRA...: what pyproject.toml asks for, without the project itself.
requirements() {
	.venv/bin/python - "$@" <<-'END'
		import sys
		import tomllib
		with open("pyproject.toml", "rb") as file:
		    table = tomllib.load(file)
		project = table["project"]
		lists = [project["optional-dependencies"][extra] for extra in sys.argv[1:]]
		if "test" in sys.argv:
		    lists += [table["build-system"]["requires"], project["dependencies"]]
		print("\n".join(sorted({name for names in lists for name in names})))
	END
}

# install_python_packages STAMP EXTRA...
install_python_packages() {
	local name=$1 wanted key
	shift
	key=$(digest pyproject.toml .venv/pyvenv.cfg)
	if fresh "$name" "$key"; then
		step "Python packages ($*): all there"
		return
	fi
	check_space
	mapfile -t wanted < <(requirements "$@")
	step "Python packages ($*): installing ${wanted[*]}"
	logged .venv/bin/python -m pip install -q "${wanted[@]}" ||
		die "pip could not install the packages: $(reason) – check the network, or name your" \
			"package index in /etc/pip.conf ($LOG)"
	stamp "$name" "$key"
}

# --- 4. the shim, the BPF object, the link emulator, the command --------------------------------

# Whatever the native build reads.
sources() {
	echo pyproject.toml
	find setup.py bpf omrfast \( -name '*.[ch]' -o -name 'setup.py' -o -path '*/shim/*.py' \) \
		! -name '_shim.c' -type f | sort
}

build_project() {
	local key files
	mapfile -t files < <(sources)
	key=$(digest "${files[@]}")
	if fresh build "$key" && [ -x .venv/bin/omrfast ] &&
		.venv/bin/python -c 'import omrfast.shim._shim' 2>/dev/null; then
		step "shim and BPF object: up to date"
		return
	fi
	check_space
	step "shim and BPF object: building"
	rm -f "$STAMPS/build"
	logged .venv/bin/python -m pip install --no-deps --no-build-isolation -v -e . ||
		die "the build failed: $(reason) ($LOG)"
	logged .venv/bin/python -c 'import omrfast.shim._shim' ||
		die "the shim was built but does not load: $(reason) ($LOG)"
	stamp build "$key"
}

main() {
	check_machine "${1:-setup}"
	mkdir -p build
	exec 9>build/setup.lock
	flock -n 9 || { step "waiting for another set-up in this folder" && flock 9; }
	: >"$LOG"
	install_packages
	make_venv
	install_python_packages python lab test
	[ "${1:-}" != lint ] || install_python_packages lint lint
	build_project
	step "ready: .venv/bin/omrfast"
}

main "$@"
