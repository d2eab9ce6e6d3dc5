#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# omrfast for good: an environment of its own in PREFIX (/opt/omrfast), the command in BIN
# (/usr/local/bin), and, where systemd is, its unit in UNITS (/etc/systemd/system). Nothing is started.
# Afterwards the folder that it was built in can go. To take it away: remove these three.

set -euo pipefail
cd "$(dirname "$0")/.."

readonly PREFIX=${PREFIX:-/opt/omrfast} BIN=${BIN:-/usr/local/bin} UNITS=${UNITS:-/etc/systemd/system}

step() { printf 'install: %s\n' "$*"; }

unset PYTHONPATH PYTHONHOME PIP_USER PIP_TARGET PIP_PREFIX PIP_ROOT PIP_REQUIRE_VIRTUALENV
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

step "Python environment: $PREFIX"
/usr/bin/python3 -m venv --system-site-packages "$PREFIX"
"$PREFIX/bin/pip" install -q --force-reinstall --no-deps .
"$PREFIX/bin/pip" install -q .
mkdir -p "$BIN"
ln -sfn "$PREFIX/bin/omrfast" "$BIN/omrfast"
if [ -d "$UNITS" ]; then
	sed "s#/usr/local/bin/omrfast#$BIN/omrfast#" packaging/omrfast.service >"$UNITS/omrfast.service"
	step "unit: $UNITS/omrfast.service"
fi
step "$("$BIN/omrfast" --version) in $BIN; next: omrfast check; write /etc/omrfast/omrfast.toml;"
step "systemctl daemon-reload && systemctl enable --now omrfast"
