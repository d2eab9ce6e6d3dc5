# SPDX-License-Identifier: GPL-2.0-or-later
"""Attaching: exactly once, repaired when stale, and nothing left behind."""

from __future__ import annotations

import asyncio
import functools
import json
import os
from pathlib import Path

import pytest
from pyroute2 import IPRoute, netns

from omrfast.core.types import PathLink
from omrfast.dataplane import bpffs, links
from omrfast.dataplane.attach import Attachment, attach, attached, detach, detach_all
from omrfast.dataplane.loader import open_dataplane
from omrfast.dataplane.names import DataPlaneError
from omrfast.dataplane.reader import DataPlane
from omrfast.shim import api
from omrfast.shim import link as bpf_link

from .space import Space, command, make_space, python, send, until, usual_tc

HOOKS = [("tc", "tcx"), ("tc", "clsact"), ("xdp", "tcx"), ("xdp", "clsact")]


def filters(device: str, direction: str) -> list[str]:
    """The bpf filters as the tc command shows them, one line each."""
    lines = command("tc", "filter", "show", "dev", device, direction, check=False).splitlines()
    return [line for line in lines if " handle " in line]


def on_device(link: PathLink) -> dict[str, int]:
    """How many programs the kernel has per hook of a device."""
    shown = json.loads(command("ip", "-j", "-d", "link", "show", "dev", link.ifname))[0]
    return {
        "tcx_ingress": len(bpf_link.tcx_query(link.ifindex, api.HOOK_TCX_INGRESS) or ()),
        "tcx_egress": len(bpf_link.tcx_query(link.ifindex, api.HOOK_TCX_EGRESS) or ()),
        "clsact_ingress": len(filters(link.ifname, "ingress")),
        "clsact_egress": len(filters(link.ifname, "egress")),
        "xdp": int("xdp" in shown),
    }


def expected(ingress: str, tc: str) -> dict[str, int]:
    wanted = {f"{tc}_egress", "xdp" if ingress == "xdp" else f"{tc}_ingress"}
    hooks = ("tcx_ingress", "tcx_egress", "clsact_ingress", "clsact_egress", "xdp")
    return {hook: int(hook in wanted) for hook in hooks}


def qdiscs(device: str) -> str:
    return command("tc", "qdisc", "show", "dev", device)


def add_foreign_filter(plane: DataPlane, link: PathLink) -> None:
    """Somebody else's filter: another priority, handle and name."""
    with IPRoute() as route:
        fd = plane.programs["omr_egress"].fd
        where = {"parent": 0xFFFFFFF3, "prio": 49, "classid": 1}
        route.tc("add-filter", "bpf", link.ifindex, 1, fd=fd, name="foreign", **where)


@pytest.mark.parametrize(("ingress", "tc"), HOOKS)
def test_attaching_again_changes_nothing(
    space: Space, plane: DataPlane, ingress: str, tc: str
) -> None:
    link = space.veth("wan", "10.9.0.1")
    first = attach(plane, link, ingress, tc=tc)
    ids = [entry.id for entry in links.pinned(plane.run_dir)]
    for _ in range(3):
        assert attach(plane, link, ingress, tc=tc) == first
    assert on_device(link) == expected(ingress, tc)
    assert [entry.id for entry in links.pinned(plane.run_dir)] == ids


@pytest.mark.parametrize("tc", ["tcx", "clsact"])
def test_it_works_inside_an_event_loop(space: Space, plane: DataPlane, tc: str) -> None:
    link = space.veth("wan", "10.9.0.1")

    async def agent() -> None:
        attach(plane, link, tc=tc)

    asyncio.run(agent())
    assert on_device(link) == expected("tc", tc)


@pytest.mark.parametrize(("ingress", "tc"), HOOKS)
def test_packets_are_counted_once(space: Space, plane: DataPlane, ingress: str, tc: str) -> None:
    link = space.veth("wan", "10.9.0.1")
    attach(plane, link, ingress, tc=tc)
    send("10.9.0.2", 10)
    counters = plane.read()[0]
    assert counters.tx_packets == 10
    assert counters.tx_bytes == 10 * (100 + 8 + 20 + 14)


def test_changing_the_hooks_leaves_one_of_each(space: Space, plane: DataPlane) -> None:
    link = space.veth("wan", "10.9.0.1")
    there = [hooks for hooks in HOOKS if hooks[1] in ("clsact", usual_tc())]
    for ingress, tc in (*there, *reversed(there)):
        attach(plane, link, ingress, tc=tc)
        assert on_device(link) == expected(ingress, tc)
    assert detach_all(plane.run_dir) == 2
    assert not any(on_device(link).values())
    assert "clsact" not in qdiscs(link.ifname)


def test_auto_takes_tc_on_a_veth(space: Space, plane: DataPlane) -> None:
    link = space.veth("wan", "10.9.0.1")
    assert set(attach(plane, link)) == {
        Attachment(link.ifindex, "egress", usual_tc()),
        Attachment(link.ifindex, "ingress", usual_tc()),
    }


@pytest.mark.parametrize("tc", ["tcx", "clsact"])
def test_a_device_that_came_back_is_attached_anew(space: Space, plane: DataPlane, tc: str) -> None:
    old = space.veth("wan", "10.9.0.1")
    attach(plane, old, tc=tc)
    command("ip", "link", "del", old.ifname)
    new = space.veth("wan", "10.9.0.1")
    assert new.ifindex != old.ifindex
    attach(plane, new, tc=tc)
    assert {entry.ifindex for entry in attached(plane.run_dir)} == {new.ifindex}
    assert [row.ifindex for row in plane.links()] == [new.ifindex]
    send("10.9.0.2", 4)
    assert plane.read()[0].tx_packets == 4


def test_detaching_one_device_leaves_the_other(space: Space, plane: DataPlane) -> None:
    one = space.veth("one", "10.9.0.1")
    two = space.veth("two", "10.9.1.1")
    two = PathLink(1, two.ifindex, two.ifname, two.arphrd)
    attach(plane, one)
    attach(plane, two)
    detach(plane, one.ifindex)
    assert not any(on_device(one).values())
    assert on_device(two) == expected("tc", usual_tc())
    send("10.9.0.2", 3)
    send("10.9.1.2", 3)
    assert [path.tx_packets for path in plane.read()] == [0, 3]


def test_foreign_filter_and_qdisc_survive(space: Space, plane: DataPlane) -> None:
    link = space.veth("wan", "10.9.0.1")
    command("tc", "qdisc", "add", "dev", link.ifname, "clsact")
    add_foreign_filter(plane, link)
    attach(plane, link, tc="clsact")
    assert len(filters(link.ifname, "egress")) == 2
    detach_all(plane.run_dir)
    (left,) = filters(link.ifname, "egress")
    assert "foreign" in left
    assert filters(link.ifname, "ingress") == []
    command("tc", "filter", "del", "dev", link.ifname, "egress")
    assert "clsact" in qdiscs(link.ifname)


def test_our_qdisc_stays_while_somebody_uses_it(space: Space, plane: DataPlane) -> None:
    link = space.veth("wan", "10.9.0.1")
    attach(plane, link, tc="clsact")
    add_foreign_filter(plane, link)
    detach_all(plane.run_dir)
    assert "foreign" in "".join(filters(link.ifname, "egress"))
    assert "clsact" in qdiscs(link.ifname)


def test_a_plain_ingress_qdisc_is_not_touched(space: Space, plane: DataPlane) -> None:
    link = space.veth("wan", "10.9.0.1")
    command("tc", "qdisc", "add", "dev", link.ifname, "ingress")
    with pytest.raises(DataPlaneError, match="has an 'ingress' qdisc"):
        attach(plane, link, tc="clsact")
    assert "ingress" in qdiscs(link.ifname)
    if usual_tc() == "tcx":  # can be beside it
        attach(plane, link)
        assert on_device(link) == expected("tc", "tcx")


def test_somebody_elses_xdp_program_stays(space: Space, plane: DataPlane) -> None:
    link = space.veth("wan", "10.9.0.1")
    insns = bytes.fromhex("b7000000020000009500000000000000")  # return XDP_PASS
    fd = api.load_program(api.PROG_TYPE_XDP, "foreign", insns)
    try:
        theirs = api.prog_info(fd).id
        with IPRoute() as route:
            route.link("set", index=link.ifindex, xdp_fd=fd)
    finally:
        os.close(fd)
    with pytest.raises(DataPlaneError, match="wan: XDP refused"):
        attach(plane, link, "xdp")
    assert bpf_link.xdp_program(link.ifindex) == theirs
    attach(plane, link, "tc")
    detach_all(plane.run_dir)
    assert bpf_link.xdp_program(link.ifindex) == theirs


def test_unknown_device_type_is_refused(space: Space, plane: DataPlane) -> None:
    link = space.veth("wan", "10.9.0.1")
    with pytest.raises(DataPlaneError, match="wan has device type 801"):
        attach(plane, PathLink(0, link.ifindex, link.ifname, 801))
    assert not any(on_device(link).values())


def test_a_tun_is_measured_by_tc_even_if_xdp_is_asked_for(space: Space, plane: DataPlane) -> None:
    command("ip", "tuntap", "add", "dev", "tun9", "mode", "tun")
    command("ip", "link", "set", "tun9", "up")
    with IPRoute() as route:
        (device,) = route.get_links(ifname="tun9")
    link = PathLink(0, device["index"], "tun9", device["ifi_type"])
    kinds = {entry.kind for entry in attach(plane, link, "xdp")}
    assert kinds == {usual_tc()}
    assert [row.l2 for row in plane.links()] == [1]


def test_a_missing_device_is_an_error(plane: DataPlane) -> None:
    with pytest.raises(DataPlaneError, match="gone0"):
        attach(plane, PathLink(0, 4711, "gone0", 1))


def test_left_overs_without_pins_are_found(space: Space, plane: DataPlane) -> None:
    link = space.veth("wan", "10.9.0.1")
    attach(plane, link, "xdp")
    held = [api.open_pin(entry.path) for entry in links.pinned(plane.run_dir)]
    try:
        bpffs.remove_pins(bpffs.path(plane.run_dir))
        assert on_device(link) == expected("xdp", usual_tc())
        assert detach_all(plane.run_dir) == 2
        assert not any(on_device(link).values())
    finally:
        for fd in held:
            os.close(fd)


def mounts(run_dir: str) -> int:
    return Path("/proc/self/mountinfo").read_text().count(f" {run_dir}/")


@pytest.mark.parametrize(
    ("ingress", "tc", "lives"), [("tc", "tcx", 20), ("xdp", "tcx", 5), ("tc", "clsact", 5)]
)
def test_many_lives_leave_nothing(
    space: Space, run_dir: str, ingress: str, tc: str, lives: int
) -> None:
    link = space.veth("wan", "10.9.0.1")
    programs: set[int] = set()

    def live() -> None:
        with open_dataplane(run_dir, "prebuilt", flows=100) as plane:
            attach(plane, link, ingress, tc=tc)
            plane.events()
            programs.update(program.info.id for program in plane.programs.values())
        detach_all(run_dir)

    live()
    before = (len(os.listdir("/proc/self/fd")), mounts(run_dir))
    for _ in range(lives):
        live()
    assert (len(os.listdir("/proc/self/fd")), mounts(run_dir)) == before
    assert not any(on_device(link).values())
    assert "clsact" not in qdiscs(link.ifname)
    assert os.listdir(run_dir) == []
    until(
        lambda: all(api.prog_info_by_id(number) is None for number in programs),
        "programs are freed",
    )


ONCE = """
import sys
from omrfast.core.types import PathLink
from omrfast.dataplane.attach import attach, detach_all
from omrfast.dataplane.loader import open_dataplane
if sys.argv[2] == "detach":
    print(detach_all(sys.argv[1]))
else:
    plane = open_dataplane(sys.argv[1], "prebuilt")
    print(plane.reused, len(attach(plane, PathLink(0, int(sys.argv[2]), "wan", 1))))
"""


def test_pins_outlive_ip_netns_exec(space: Space, run_dir: str) -> None:
    link = space.veth("wan", "10.9.0.1")

    def once(word: str) -> str:
        child = python(ONCE, run_dir, word, prefix=("ip", "netns", "exec", space.name))
        out, errors = child.communicate()
        assert child.returncode == 0, errors
        return out.strip()

    assert once(str(link.ifindex)) == "False 2"
    assert on_device(link) == expected("tc", usual_tc())
    assert once(str(link.ifindex)) == "True 2"
    assert bpffs.is_mounted(run_dir)
    assert once("detach") == "2"
    assert not any(on_device(link).values())
    assert not bpffs.is_mounted(run_dir)


def test_two_data_planes_do_not_disturb_each_other(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    spaces = [make_space(), make_space()]
    for one in spaces:
        request.addfinalizer(functools.partial(netns.remove, one.name))
    where = [str(tmp_path / "a"), str(tmp_path / "b")]
    devices = [space.veth("wan", "10.9.0.1") for space in spaces]
    planes = []
    for space, run_dir, device in zip(spaces, where, devices, strict=True):
        with space:
            planes.append(open_dataplane(run_dir, "prebuilt", flows=1000))
            attach(planes[-1], device)
            send("10.9.0.2", 2)
    with spaces[0]:
        assert detach_all(where[0]) == 2
        assert not any(on_device(devices[0]).values())
    with spaces[1]:
        assert on_device(devices[1]) == expected("tc", usual_tc())
        send("10.9.0.2", 2)
        assert planes[1].read()[0].tx_packets == 4
        assert detach_all(where[1]) == 2
    for plane in planes:
        plane.close()
