# SPDX-License-Identifier: GPL-2.0-or-later
"""Finding paths, binding them to the kernel; and the core's purity."""

from __future__ import annotations

import ast
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import omrfast.core
from omrfast.core.config import PathConfig, Quality
from omrfast.core.discover import bind, discover, gateways
from omrfast.core.operations import Endpoint, Interface, Observed, Route
from omrfast.core.types import Role

WAN1 = Interface(2, "wan1", True, 1, ("10.1.0.2", "fe80::2", "fd00:1::2"))
WAN2 = Interface(3, "wan2", True, 1, ("10.2.0.2",))
LAN = Interface(4, "lan0", True, 1, ("192.168.1.1",))
SUBFLOW = frozenset({"subflow"})
OBSERVED = Observed(
    endpoints=(
        Endpoint(1, "10.1.0.2", 2, 0, SUBFLOW),
        Endpoint(2, "10.2.0.2", 0, 0, SUBFLOW | {"backup"}),
    ),
    routes=(
        Route(4, "default", 2, "10.1.0.1", 100),
        Route(4, "default", 3, "10.2.0.1", 200),
        Route(6, "default", 2, "fe80::1", 100),
    ),
    interfaces=(Interface(1, "lo", True, 772, ("127.0.0.1",)), WAN1, WAN2, LAN),
)


def test_paths_are_found_by_endpoint_or_default_route() -> None:
    found = discover(OBSERVED, Quality())
    assert [(p.name, p.role) for p, _ in found] == [("wan1", Role.ACTIVE), ("wan2", Role.BACKUP)]
    assert "10.1.0.2" in found[0][1]
    assert "metric 100" in found[0][1]
    bare = Observed((), OBSERVED.routes[:1], OBSERVED.interfaces)
    ((path, why),) = discover(bare, Quality())
    assert path.name == "wan1"
    assert "no MPTCP endpoint" in why
    assert discover(Observed((), (), OBSERVED.interfaces), Quality()) == ()


def test_binding_takes_the_endpoint_s_address_and_all_others_of_the_device() -> None:
    bindings, missing = bind((PathConfig("a", "wan1"),), OBSERVED, create=False)
    assert missing == {}
    assert bindings["a"].address == "10.1.0.2"
    assert bindings["a"].addresses == {"10.1.0.2", "fd00:1::2"}
    assert gateways(OBSERVED, bindings["a"]) == ("10.1.0.1",)


def test_the_address_stays_while_it_is_there_and_is_remembered_when_it_goes() -> None:
    both = Interface(2, "wan1", True, 1, ("192.168.100.2", "203.0.113.5"))
    with_endpoint = Observed(
        endpoints=(Endpoint(1, "203.0.113.5", 2, 0, SUBFLOW),), interfaces=(both,)
    )
    paths = (PathConfig("a", "wan1"),)
    first, _ = bind(paths, with_endpoint, create=False)
    assert first["a"].address == "203.0.113.5"
    removed = Observed(interfaces=(both,))
    second, _ = bind(paths, removed, create=False, before=first)
    assert second["a"].address == "203.0.113.5", "although the endpoint is gone"
    renumbered = Observed(interfaces=(Interface(9, "wan1", True, 1, ("203.0.113.77",)),))
    third, _ = bind(paths, renumbered, create=False, before=second)
    assert third["a"].address == "203.0.113.77"
    assert third["a"].former == frozenset(), "there is no endpoint to remember it for"
    for found in (
        replace(renumbered, endpoints=with_endpoint.endpoints),
        replace(renumbered, made=frozenset({"203.0.113.5"})),
    ):
        third, _ = bind(paths, found, create=False, before=second)
        assert third["a"].former == {"203.0.113.5"}
        fourth, _ = bind(paths, found, create=False, before=third)
        assert fourth["a"].former == third["a"].former
        fifth, _ = bind(paths, renumbered, create=False, before=fourth)
        assert fifth["a"].former == frozenset()


def test_a_path_that_loses_its_routes_is_named() -> None:
    paths = (PathConfig("a", "wan1"),)
    first, missing = bind(paths, OBSERVED, create=False)
    assert missing == {}
    assert first["a"].routed
    without = replace(OBSERVED, routes=OBSERVED.routes[1:])
    second, missing = bind(paths, without, create=False, before=first)
    assert "no route leads through wan1" in missing["a"], "the IPv6 one does not count"
    assert "a" in second
    _, missing = bind(paths, without, create=False, before=second)
    assert missing, "it is remembered that there was one"
    elsewhere = replace(without, routes=(replace(OBSERVED.routes[0], table=101),))
    assert bind(paths, elsewhere, create=False, before=second)[1] == {}, "another table's will do"
    shared = replace(without, shared=(replace(OBSERVED.routes[0], ifindex=0, gateway=None),))
    assert bind(paths, shared, create=False, before=second)[1] == {}, "nobody knows"
    never, missing = bind(paths, without, create=False)
    assert missing == {}
    assert bind(paths, without, create=False, before=never)[1] == {}, "it never had one"


@pytest.mark.parametrize(
    ("path", "why"),
    [
        (PathConfig("a", "wan9"), "wan9 is gone"),
        (PathConfig("a", "wan1", address="10.1.0.3"), "no address 10.1.0.3"),
    ],
)
def test_what_is_not_there_is_named(path: PathConfig, why: str) -> None:
    bindings, missing = bind((path,), OBSERVED, create=False)
    assert bindings == {}
    assert why in missing["a"]


def test_a_device_without_carrier_is_bound_and_named() -> None:
    down = Interface(2, "wan1", False, 1, ("10.1.0.2",))
    bindings, missing = bind((PathConfig("a", "wan1"),), Observed(interfaces=(down,)), create=False)
    assert "a" in bindings
    assert "carrier" in missing["a"]


def test_the_core_imports_the_standard_library_and_itself_and_has_no_clock() -> None:
    folder = Path(next(iter(omrfast.core.__path__)))
    files = sorted(folder.glob("*.py"))
    assert len(files) > 5
    forbidden = {"time", "socket", "logging", "os", "asyncio", "threading", "subprocess", "random"}
    forbidden |= {"pathlib", "io", "shutil", "tempfile", "datetime"}
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("open", "print", "input"), f"{file.name} does I/O"
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                root = name.split(".")[0]
                assert root in sys.stdlib_module_names or name.startswith("omrfast.core"), file
                assert root not in forbidden, f"{file.name} imports {name}"
