#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# What the README asks for and nothing more: git, make, python3; then the project's own set-up.
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -qy git make python3
make -C /vagrant setup
ln -sf /vagrant/.venv/bin/omrfast /usr/local/bin/omrfast
uname -r
omrfast lab run
