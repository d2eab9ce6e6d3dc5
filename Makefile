# SPDX-License-Identifier: GPL-2.0-or-later
# `make demo` and `make test` do all of their own set-up; see packaging/setup.sh.

BIN := .venv/bin
# make test ARGS="tests/unit -k policy"
ARGS ?=
# make matrix MATRIX="--kernel 6.1 --steps load,failover"
MATRIX ?=
# make bench BENCH="overhead scale"
BENCH ?= failover agent_cost accuracy overhead scale
C_FILES = $(shell git ls-files '*.c' '*.h')

.DEFAULT_GOAL := help
.PHONY: help setup install demo test slow bench lint fresh fuzz matrix clean

help:
	@echo 'make setup   Debian packages, .venv, shim, BPF object; leaves $(BIN)/omrfast'
	@echo 'make install  omrfast into /opt/omrfast, its command, its systemd unit (PREFIX, BIN, UNITS)'
	@echo 'make demo    set-up, then the main job in a lab on this machine (two minutes)'
	@echo 'make test    set-up, then all tests; ARGS="tests/unit -k policy" for some'
	@echo 'make slow    the tests that take minutes: twenty outages, an hour of simulated traffic, ...'
	@echo 'make bench   the figures of the README (80 minutes); BENCH="overhead scale" for some'
	@echo 'make fuzz    the packet parser and data path under ASan and UBSan (ten minutes, or FUZZ_SECONDS)'
	@echo 'make lint    ruff, mypy, clang-format'
	@echo 'make fresh   make demo and make test in a fresh Debian 12 tree (debootstrap, chroot)'
	@echo 'make matrix  tests and a failover on Debian 6.1 and 6.12 kernels, emulated (40 minutes)'
	@echo 'make clean   remove what was built; the Debian packages stay'

setup:
	@packaging/setup.sh $(or $(MAKECMDGOALS),setup)

demo: setup
	packaging/own-root.py $(BIN)/omrfast lab demo

install: setup
	packaging/install.sh

PYTEST = packaging/own-root.py $(BIN)/python -m pytest
# Three at a time; two where time is measured and mostly waited for; alone what leaves a lab behind
# that others would collect.
ALONE = tests/lab/test_lab_topology.py
TIMED = tests/lab/test_agent_accuracy.py tests/lab/test_lab_traffic.py \
	tests/lab/test_lab_wire.py tests/lab/test_sparse_samples.py

test: setup
ifeq ($(ARGS),)
	$(PYTEST) -n 3 --dist loadgroup $(addprefix --ignore=,$(ALONE) $(TIMED))
	$(PYTEST) -n 2 --dist loadfile $(TIMED)
	$(PYTEST) $(ALONE)
else
	$(PYTEST) $(ARGS)
endif

slow: setup
	$(PYTEST) -m slow $(ARGS)

bench: setup
	set -e; for name in $(BENCH); do $(BIN)/python -m bench.$$name; done

fuzz: setup
	$(BIN)/python -m tests.fuzz

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy --strict omrfast
	$(BIN)/clang-format --dry-run -Werror $(C_FILES)

fresh:
	tests/fresh/debian12.sh

matrix:
	/usr/bin/python3 -m tests.matrix $(MATRIX)

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find omrfast bpf tests bench -name __pycache__ -prune -exec rm -rf {} +
	git clean -fdXq omrfast bpf
