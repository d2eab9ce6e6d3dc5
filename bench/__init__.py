# SPDX-License-Identifier: GPL-2.0-or-later
"""Benchmarks: each measures one claim of the README and writes JSON and a picture."""
