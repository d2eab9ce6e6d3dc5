# SPDX-License-Identifier: GPL-2.0-or-later
"""The `omrfast` command: parse, call one command's handler, turn errors into exit codes.

A command is a module of this package with ``register(subparsers, parents)``: it adds its parser
with ``parents=parents`` (which carries ``--config``) and sets ``handler``, a function of the
parsed arguments that returns the exit code: 0 fine, 1 failed, 2 usage or configuration,
3 degraded. Modules import what is heavy inside their handlers.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from omrfast import __version__
from omrfast.cli.common import CONFIG_VARIABLE, FAILED, USAGE
from omrfast.configfile import DEFAULT_CONFIG
from omrfast.core.config import ConfigError

COMMANDS = (
    "run",
    "status",
    "explain",
    "path",
    "reload",
    "flows",
    "events",
    "check",
    "detach",
    "restore",
    "replay_journal",
    "replay",
    "lab",
)
DEBUG_VARIABLE = "OMRFAST_DEBUG"


class _Parser(argparse.ArgumentParser):
    """Usage errors in one line, like all others; options anywhere between a command's words."""

    _parsing = False

    def parse_known_args(  # type: ignore[override]
        self,
        args: Sequence[str] | None = None,
        namespace: argparse.Namespace | None = None,
    ) -> tuple[argparse.Namespace, list[str]]:
        if self._parsing or self._subparsers is not None:
            return super().parse_known_args(args, namespace)
        self._parsing = True  # what is called next calls this method twice
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._parsing = False

    def error(self, message: str) -> None:  # type: ignore[override]
        self.exit(USAGE, f"omrfast: {message}; see `{self.prog} --help`\n")


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    config_help = f"configuration (default: ${CONFIG_VARIABLE}, else {DEFAULT_CONFIG})"
    parser = _Parser(
        prog="omrfast",
        description="Fast failover for routers with several uplinks (Multipath TCP).",
        epilog="Exit codes: 0 fine, 1 failed, 2 usage or configuration, 3 no usable path.",
    )
    parser.add_argument("--version", action="version", version=f"omrfast {__version__}")
    parser.add_argument("--config", metavar="FILE", help=config_help)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--config", metavar="FILE", help=config_help, default=argparse.SUPPRESS)
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)
    for name in COMMANDS:
        import_module(f"omrfast.cli.{name}").register(subparsers, [common])
    return parser


def _explain(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    text = str(error)
    if type(error).__module__.startswith("omrfast.") and text:
        return text
    return f"{type(error).__name__}: {text} ({DEBUG_VARIABLE}=1 shows where)"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the process's exit code."""
    args = build_parser().parse_args(argv)
    try:
        code: int = args.handler(args)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if os.environ.get(DEBUG_VARIABLE):
            raise
        print(f"omrfast: {_explain(error)}", file=sys.stderr)
        return USAGE if isinstance(error, ConfigError) else FAILED
    return code


if __name__ == "__main__":
    sys.exit(main())
