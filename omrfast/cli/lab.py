# SPDX-License-Identifier: GPL-2.0-or-later
"""`omrfast lab`: networks with several uplinks on this machine, to try things in."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING

from omrfast.cli.common import FINE, CommandError, Subparsers, add_json, print_json

if TYPE_CHECKING:
    from omrfast.lab.scenario import Scenario

_NAME = "lab"
_NAME_HELP = "name of the lab (default: %(default)s)"
_PARTS = "router, vps1, vps2, carrier1..., inet, lan"
_LINK_KEYS = (
    "delay=150ms jitter=10ms loss=3% reorder=1% hold=5ms rate=20M queue=100ms blackhole=on|off"
)
_LINK_VALUE = re.compile(r"(\d+(?:\.\d+)?)([a-zA-Z%]*)")
_TIME = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_RATE = {"k": 1e3, "M": 1e6, "G": 1e9}
_SHARE = {"%": 0.01}
_UNITS = {
    **dict.fromkeys(("delay", "jitter", "queue", "hold"), _TIME),
    **dict.fromkeys(("loss", "reorder"), _SHARE),
    "rate": _RATE,
}
_SWITCH = {"on": 1.0, "off": 0.0}


def register(subparsers: Subparsers, parents: Sequence[argparse.ArgumentParser]) -> None:
    lab = subparsers.add_parser("lab", parents=parents, help="a test network on this machine")
    actions = lab.add_subparsers(metavar="ACTION", required=True)

    up = actions.add_parser("up", help="build a lab that stays until `omrfast lab down`")
    up.add_argument("--name", type=_lab_name, default=_NAME, help=_NAME_HELP)
    up.add_argument("--uplinks", type=int, choices=(1, 2, 3), default=2)
    up.add_argument("--servers", type=int, choices=(1, 2), default=1)
    up.add_argument("--lan", action="store_true", help="with a LAN client")
    up.add_argument("--ipv6", action="store_true", help="with IPv6 too")
    up.add_argument("--agent", action="store_true", help="start the agent in the router")
    up.set_defaults(handler=_up)

    down = actions.add_parser("down", help="remove the lab")
    down.add_argument("--name", type=_lab_name, default=_NAME, help=_NAME_HELP)
    down.set_defaults(handler=_down)

    shell = actions.add_parser("shell", help="a shell inside a part of the lab")
    shell.add_argument("part", nargs="?", default="router", help=f"one of {_PARTS}")
    shell.add_argument("--name", type=_lab_name, default=_NAME, help=_NAME_HELP)
    shell.set_defaults(handler=_shell)

    link = actions.add_parser("link", help="change an uplink of the lab, or show it")
    link.add_argument("uplink", help="wan1, wan2, ...")
    link.add_argument(
        "changes",
        nargs="*",
        type=_change,
        metavar="KEY=VALUE",
        help=_LINK_KEYS.replace("%", "%%"),
    )
    link.add_argument("--direction", choices=("up", "down", "both"), default="both")
    link.add_argument("--name", type=_lab_name, default=_NAME, help=_NAME_HELP)
    link.set_defaults(handler=_link)

    demo = actions.add_parser("demo", help="the main job, without and with the agent (2 minutes)")
    demo.add_argument("--out", type=Path, default=Path("out/demo.png"), help="picture to write")
    demo.add_argument("--scenario", default="demo", help="another scenario to compare")
    demo.set_defaults(handler=_demo)

    run = actions.add_parser("run", help="run one scenario")
    run.add_argument("scenario", nargs="?", help="its name; without: list them")
    run.add_argument("--no-agent", action="store_true", help="what the kernel does by itself")
    run.add_argument("--picture", type=Path, help="also draw the timeline (PNG)")
    add_json(run)
    run.set_defaults(handler=_run)


def _up(args: argparse.Namespace) -> int:
    from omrfast.lab import keeper

    wish = keeper.Wish(**{f.name: getattr(args, f.name) for f in fields(keeper.Wish)})
    parts = keeper.up(wish)
    print(f"lab {wish.name} is up:")
    for part, namespace in parts.items():
        print(f"  {part:10} ip netns exec {namespace} ...")
    own = "" if wish.name == _NAME else f" --name {wish.name}"
    print(f"enter: omrfast lab shell{own} [PART]    spoil: omrfast lab link{own} wan1 blackhole=on")
    if wish.agent:
        print(f"agent: omrfast status --config {keeper.agent_config(wish.name)}")
    print(f"end:   omrfast lab down{own}")
    return FINE


def _down(args: argparse.Namespace) -> int:
    from omrfast.lab import keeper

    print(f"lab {args.name} is removed" if keeper.down(args.name) else f"no lab {args.name}")
    return FINE


def _shell(args: argparse.Namespace) -> int:
    from omrfast.lab import keeper, netns

    owner = keeper.find(args.name)
    if owner is None:
        raise CommandError(f"no lab {args.name} is up: `omrfast lab up` makes one")
    namespace = f"omr-{args.name}-{args.part}"
    if namespace not in owner.namespaces:
        parts = ", ".join(n.removeprefix(f"omr-{args.name}-") for n in owner.namespaces)
        raise CommandError(f"lab {args.name} has no part {args.part}: write one of {parts}")
    shell = os.environ.get("SHELL", "/bin/sh")
    print(f"in {namespace}; `exit` leaves", flush=True)
    with netns.spawn(namespace, [shell], process_group=None) as process:
        return process.wait()


def _change(word: str) -> tuple[str, float]:
    """``delay=150ms`` as key and seconds, ratio, bit/s or 0 and 1; raises ArgumentTypeError."""
    key, _, text = word.partition("=")
    if key == "blackhole" and text in _SWITCH:
        return key, _SWITCH[text]
    match = _LINK_VALUE.fullmatch(text)
    unit = _UNITS.get(key, {}).get(match[2]) if match else None
    over = match and _UNITS.get(key) is _SHARE and float(match[1]) > 100
    if match is None or unit is None or over:
        raise argparse.ArgumentTypeError(f"{word!r}: write as in {_LINK_KEYS}")
    return key, float(match[1]) * unit


def _lab_name(text: str) -> str:
    """Part of the names of namespaces and of a socket."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]{0,31}", text):
        raise argparse.ArgumentTypeError(f"{text!r}: write up to 32 letters, digits and -")
    return text


def _link(args: argparse.Namespace) -> int:
    from omrfast.lab import links, ownership
    from omrfast.lab.process import check_root

    check_root()
    path = ownership.root() / args.name / links.WIRE_SOCKET
    if not path.exists():
        raise CommandError(
            f"no lab {args.name} with the emulator of this project is up; where the kernel has "
            "netem, use tc in its namespace"
        )
    control = links.WireControl(path)
    try:
        if args.changes:
            control.change(args.uplink, args.direction, dict(args.changes))
        for direction in (links.UP, links.DOWN):
            counted = asdict(control.stats(args.uplink, direction))
            words = ", ".join(f"{name} {count}" for name, count in counted.items() if count)
            print(f"{args.uplink} {direction}: {words or 'nothing yet'}")
    finally:
        control.close()
    return FINE


def _scenario(name: str) -> Scenario:
    from omrfast.lab.scenarios import SCENARIOS

    if name not in SCENARIOS:
        raise CommandError(f"unknown scenario {name!r}: write one of {', '.join(SCENARIOS)}")
    return SCENARIOS[name]


def _demo(args: argparse.Namespace) -> int:
    from omrfast.lab.demo import compare
    from omrfast.lab.process import end_on_signals

    end_on_signals()
    return compare(_scenario(args.scenario), args.out)


def _run(args: argparse.Namespace) -> int:
    from omrfast.lab.process import end_on_signals
    from omrfast.lab.report import outcome, wide_console
    from omrfast.lab.runner import run
    from omrfast.lab.scenarios import SCENARIOS
    from omrfast.lab.view import open_view

    if args.scenario is None:
        for each in SCENARIOS.values():
            print(f"{each.name:22} {each.duration:4.0f} s  {each.summary}")
        return FINE
    end_on_signals()
    scenario = _scenario(args.scenario)
    with open_view(f"{scenario.name}: {scenario.summary}") as view:
        result = run(scenario, agent=not args.no_agent and scenario.agent, observer=view.show)
    if args.picture:
        from omrfast.lab.picture import draw

        draw(result, None, scenario, args.picture)
    if args.json:
        print_json(result.to_json())
        return FINE
    wide_console().print(outcome(result))
    return FINE
