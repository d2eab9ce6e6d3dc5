# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's MPTCP path manager: endpoints, their backup flag, and limits.

Generic netlink family ``mptcp_pm`` (Documentation/netlink/specs/mptcp_pm.yaml,
net/mptcp/pm_kernel.c). The message map is our own: pyroute2's has no flag change and takes the
interface index as hexadecimal text.

An endpoint's identity in the kernel is its address and port; its id may be given anew to another
one after a delete. So every change looks the endpoint up by address first.
"""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from socket import AF_INET, AF_INET6
from types import TracebackType
from typing import Any

from pyroute2.netlink import NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, genlmsg, nla
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.generic import GenericNetlinkSocket

from omrfast.act.errors import ActionError
from omrfast.core.types import Endpoint

ADD_ADDR = 1
DEL_ADDR = 2
GET_ADDR = 3
SET_LIMITS = 5
GET_LIMITS = 6
SET_FLAGS = 7

_NLA_F_NESTED = 0x8000
_ADDR = "MPTCP_PM_ADDR_ATTR_"

FLAGS = {
    "signal": 1,
    "subflow": 2,
    "backup": 4,
    "fullmesh": 8,
    "implicit": 16,
    "laminar": 32,
}
"""MPTCP_PM_ADDR_FLAG_*; laminar from Linux 6.18."""


class PmMessage(genlmsg):  # type: ignore[misc]
    """A message of the family, either direction."""

    nla_map = (
        ("MPTCP_PM_ATTR_UNSPEC", "none"),
        ("MPTCP_PM_ATTR_ADDR", "address"),
        ("MPTCP_PM_ATTR_RCV_ADD_ADDRS", "uint32"),
        ("MPTCP_PM_ATTR_SUBFLOWS", "uint32"),
    )

    class address(nla):  # type: ignore[misc]
        """Port and interface index are in host order."""

        nla_map = (
            ("MPTCP_PM_ADDR_ATTR_UNSPEC", "none"),
            ("MPTCP_PM_ADDR_ATTR_FAMILY", "uint16"),
            ("MPTCP_PM_ADDR_ATTR_ID", "uint8"),
            ("MPTCP_PM_ADDR_ATTR_ADDR4", "ip4addr"),
            ("MPTCP_PM_ADDR_ATTR_ADDR6", "ip6addr"),
            ("MPTCP_PM_ADDR_ATTR_PORT", "uint16"),
            ("MPTCP_PM_ADDR_ATTR_FLAGS", "uint32"),
            ("MPTCP_PM_ADDR_ATTR_IF_IDX", "uint32"),
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """``ip mptcp limits``: extra subflows per connection, and ADD_ADDRs taken from the peer."""

    subflows: int
    add_addr_accepted: int


def flag_names(bits: int) -> frozenset[str]:
    """The names of the flags that are set; unknown bits are left out."""
    return frozenset(name for name, bit in FLAGS.items() if bits & bit)


def flag_bits(names: Iterable[str]) -> int:
    """The inverse of flag_names(); a name that does not exist raises KeyError."""
    return sum(FLAGS[name] for name in names)


def describe(endpoint: Endpoint) -> str:
    """As in messages: ``MPTCP endpoint 10.0.0.1 (id 2)``."""
    port = f" port {endpoint.port}" if endpoint.port else ""
    return f"MPTCP endpoint {endpoint.address}{port} (id {endpoint.id})"


def same_place(one: Endpoint, other: Endpoint) -> bool:
    """Whether both are the same endpoint to the kernel: address and port."""
    return (
        one.port == other.port
        and ipaddress.ip_address(one.address) == ipaddress.ip_address(other.address)
    )  # fmt: skip


def _to_endpoint(data: Any) -> Endpoint:
    return Endpoint(
        id=data.get_attr(_ADDR + "ID") or 0,
        address=data.get_attr(_ADDR + "ADDR4") or data.get_attr(_ADDR + "ADDR6"),
        ifindex=data.get_attr(_ADDR + "IF_IDX") or 0,
        port=data.get_attr(_ADDR + "PORT") or 0,
        flags=flag_names(data.get_attr(_ADDR + "FLAGS") or 0),
    )


def _place(endpoint: Endpoint) -> list[tuple[str, Any]]:
    if ipaddress.ip_address(endpoint.address).version == 4:
        return [(_ADDR + "FAMILY", AF_INET), (_ADDR + "ADDR4", endpoint.address)]
    return [(_ADDR + "FAMILY", AF_INET6), (_ADDR + "ADDR6", endpoint.address)]


class EndpointManager:
    """One generic netlink socket; to be used by the thread that made it, without a running loop.

    Raises ActionError from every method; from the constructor when the kernel has no MPTCP.
    """

    def __init__(self) -> None:
        self._socket = GenericNetlinkSocket()
        try:
            self._socket.bind("mptcp_pm", PmMessage)
        except NetlinkError as error:
            self._socket.close()
            raise ActionError(
                "MPTCP path manager",
                errno=error.code,
                hint="this kernel has no MPTCP: use one built with CONFIG_MPTCP",
            ) from error

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def __enter__(self) -> EndpointManager:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _call(self, command: int, flags: int, attrs: list[tuple[str, Any]]) -> list[Any]:
        message = PmMessage()
        message["cmd"] = command
        message["version"] = 1
        message["attrs"] = [
            (name, {"attrs": value}, _NLA_F_NESTED) if isinstance(value, list) else (name, value)
            for name, value in attrs
        ]
        return list(
            self._socket.nlm_request(
                message, msg_type=self._socket.prid, msg_flags=NLM_F_REQUEST | flags
            )
        )

    def _change(self, command: int, address: list[tuple[str, Any]]) -> None:
        self._call(command, NLM_F_ACK, [("MPTCP_PM_ATTR_ADDR", address)])

    def list(self) -> tuple[Endpoint, ...]:
        """Every endpoint of this namespace, in the kernel's order."""
        try:
            answers = self._call(GET_ADDR, NLM_F_DUMP, [])
        except NetlinkError as error:
            raise ActionError(
                "reading the MPTCP endpoints", errno=error.code, hint="is net.mptcp.enabled set?"
            ) from error
        addresses = (answer.get_attr("MPTCP_PM_ATTR_ADDR") for answer in answers)
        return tuple(_to_endpoint(data) for data in addresses if data is not None)

    def find(self, endpoint: Endpoint) -> Endpoint | None:
        """What the kernel holds at that address and port, whatever its id."""
        return next((held for held in self.list() if same_place(held, endpoint)), None)

    def add(self, endpoint: Endpoint) -> None:
        """Add it with its id (0: the kernel picks one), interface, port and all flags.

        Nothing to do if it is there already; with another id or other flags it is an error,
        because somebody else has made it. ``implicit`` marks what the kernel made itself for an
        incoming subflow; it is not ours to give, and the kernel replaces such an entry.
        """
        address = [
            *_place(endpoint),
            (_ADDR + "FLAGS", flag_bits(endpoint.flags - {"implicit"})),
        ]
        if endpoint.id:
            address.append((_ADDR + "ID", endpoint.id))
        if endpoint.port:
            address.append((_ADDR + "PORT", endpoint.port))
        if endpoint.ifindex:
            address.append((_ADDR + "IF_IDX", endpoint.ifindex))
        try:
            self._change(ADD_ADDR, address)
        except NetlinkError as error:
            # EBUSY: the id is taken, which is looked at before the address.
            if error.code in (errno.EEXIST, errno.EBUSY) and self._is_there(endpoint):
                return
            raise ActionError(
                f"adding {describe(endpoint)}", errno=error.code, hint=_add_hint(error.code)
            ) from error

    def _is_there(self, endpoint: Endpoint) -> bool:
        held = self.find(endpoint)
        return (
            held is not None
            and (endpoint.id == 0 or held.id == endpoint.id)
            and held.flags == endpoint.flags
            and held.ifindex == endpoint.ifindex
        )

    def delete(self, endpoint: Endpoint) -> None:
        """Remove the endpoint of that address and port: the kernel closes its subflows.

        Nothing to do if it is gone. An ``id`` of 0 and no endpoint of that address: the initial
        subflows from the address are closed (address id 0, RFC 8684 section 3.4.2). May block for
        some hundred milliseconds after it has taken effect.
        """
        held = self.find(endpoint)
        if held is not None:
            address = [(_ADDR + "ID", held.id)]
        elif endpoint.id == 0:
            address = [(_ADDR + "ID", 0), *_place(endpoint)]
        else:
            return
        try:
            self._change(DEL_ADDR, address)
        except NetlinkError as error:
            # An unknown id is EINVAL in the kernel, not ENOENT: somebody was quicker.
            if error.code in (errno.ENOENT, errno.EINVAL) and self.find(endpoint) is None:
                return
            raise ActionError(
                f"deleting {describe(endpoint)}",
                errno=error.code,
                hint="look at `ip mptcp endpoint show`; CAP_NET_ADMIN is needed",
            ) from error

    def set_backup(self, endpoint: Endpoint, backup: bool) -> None:
        """Set or clear the backup flag: one MP_PRIO on each of its subflows, no re-injection.

        SET_FLAGS also overwrites ``fullmesh``, so the present flags go with it. Nothing is sent
        if the flag is as wished already.
        """
        held = self.find(endpoint)
        if held is None:
            raise ActionError(
                f"changing the priority of {describe(endpoint)}",
                errno=errno.ENOENT,
                hint="it was removed meanwhile; add it first",
            )
        flags = (held.flags - {"backup"}) | ({"backup"} if backup else frozenset())
        try:
            self._change(SET_FLAGS, [(_ADDR + "ID", held.id), (_ADDR + "FLAGS", flag_bits(flags))])
        except NetlinkError as error:
            raise ActionError(
                f"changing the priority of {describe(held)}",
                errno=error.code,
                hint="it must have the subflow flag, not only signal",
            ) from error

    def limits(self) -> Limits:
        """The limits of this namespace."""
        try:
            (answer,) = self._call(GET_LIMITS, 0, [])
        except NetlinkError as error:
            raise ActionError("reading the MPTCP limits", errno=error.code) from error
        return Limits(
            subflows=answer.get_attr("MPTCP_PM_ATTR_SUBFLOWS"),
            add_addr_accepted=answer.get_attr("MPTCP_PM_ATTR_RCV_ADD_ADDRS"),
        )

    def set_limits(self, limits: Limits) -> None:
        """Set both limits; the kernel takes at most 8 each up to Linux 6.18."""
        try:
            self._call(
                SET_LIMITS,
                NLM_F_ACK,
                [
                    ("MPTCP_PM_ATTR_SUBFLOWS", limits.subflows),
                    ("MPTCP_PM_ATTR_RCV_ADD_ADDRS", limits.add_addr_accepted),
                ],
            )
        except NetlinkError as error:
            raise ActionError(
                f"setting the MPTCP limits to {limits.subflows} subflows and "
                f"{limits.add_addr_accepted} accepted addresses",
                errno=error.code,
                hint="most kernels take at most 8",
            ) from error


def _add_hint(code: int) -> str:
    if code in (errno.EEXIST, errno.EBUSY):
        return "an endpoint with this address or id exists and differs; remove it first"
    if code in (errno.ERANGE, errno.ENOSPC):
        return "the kernel's table is full (8 endpoints up to Linux 6.18); remove one"
    return "compare with `ip mptcp endpoint show`; a port needs the signal flag"
