# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's MPTCP path manager: endpoints, their backup flag, and limits.

Generic netlink family ``mptcp_pm`` (net/mptcp/pm_kernel.c). The messages are pyroute2's, the socket
is not: after one ENOBUFS pyroute2's fails for ever, and it waits without end for an answer that was
lost.

An endpoint's identity in the kernel is its address and port; its id may be given anew to another
one after a delete. So every change looks the endpoint up by address first.
"""

from __future__ import annotations

import errno
import ipaddress
import logging
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

from omrfast.act.errors import ActionError
from omrfast.act.mptcp_message import (
    ADD_ADDR,
    ADDR,
    DEL_ADDR,
    GET_ADDR,
    GET_LIMITS,
    NETLINK_GENERIC,
    SET_FLAGS,
    SET_LIMITS,
    PmMessage,
    decode,
    encode,
    family_id,
    flag_bits,
    place,
    to_endpoint,
)
from omrfast.act.netlink import Netlink, NetlinkError
from omrfast.core.operations import Endpoint

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """``ip mptcp limits``: extra subflows per connection, and ADD_ADDRs taken from the peer."""

    subflows: int
    add_addr_accepted: int


def describe(endpoint: Endpoint) -> str:
    """As in messages: ``MPTCP endpoint 10.0.0.1 (id 2)``."""
    port = f" port {endpoint.port}" if endpoint.port else ""
    return f"MPTCP endpoint {endpoint.address}{port} (id {endpoint.id})"


def same_but_id(one: Endpoint, other: Endpoint) -> bool:
    """Whether they differ in nothing but perhaps their ids, which the kernel may give anew."""
    return same_place(one, other) and one.flags == other.flags and one.ifindex == other.ifindex


def same_place(one: Endpoint, other: Endpoint) -> bool:
    """Whether both are the same endpoint to the kernel: address and port."""
    return (
        one.port == other.port
        and ipaddress.ip_address(one.address) == ipaddress.ip_address(other.address)
    )  # fmt: skip


class EndpointManager:
    """One generic netlink socket; to be used by one thread.

    Raises ActionError from every method; from the constructor when the kernel has no MPTCP.
    """

    def __init__(self) -> None:
        self._netlink = Netlink(NETLINK_GENERIC)
        try:
            self._family = family_id(self._netlink)
        except NetlinkError as error:
            self._netlink.close()
            absent = "this kernel has no MPTCP: use one built with CONFIG_MPTCP"
            raise ActionError(
                "MPTCP path manager",
                errno=error.errno,
                hint=absent if error.errno == errno.ENOENT else "try again",
            ) from error

    def close(self) -> None:
        """Close the socket."""
        self._netlink.close()

    def __enter__(self) -> EndpointManager:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _call(self, command: int, attrs: list[tuple[str, Any]]) -> list[PmMessage]:
        return [
            decode(body) for body in self._netlink.request(self._family, 0, encode(command, attrs))
        ]

    def _change(self, command: int, address: list[tuple[str, Any]]) -> None:
        self._call(command, [("MPTCP_PM_ATTR_ADDR", address)])

    def list(self) -> tuple[Endpoint, ...]:
        """Every endpoint of this namespace, in the kernel's order."""
        try:
            bodies = self._netlink.snapshot(self._family, encode(GET_ADDR, []))
        except NetlinkError as error:
            raise ActionError(
                "reading the MPTCP endpoints", errno=error.errno, hint="is net.mptcp.enabled set?"
            ) from error
        addresses = (decode(body).get_attr("MPTCP_PM_ATTR_ADDR") for body in bodies)
        return tuple(to_endpoint(data) for data in addresses if data is not None)

    def find(self, endpoint: Endpoint) -> Endpoint | None:
        """What the kernel holds at that address and port, whatever its id."""
        return next((held for held in self.list() if same_place(held, endpoint)), None)

    def add(self, endpoint: Endpoint) -> None:
        """Add it with its id (0: the kernel picks one), interface, port and all flags.

        If another address has the id, the kernel picks one: after a delete it gives the id to the
        next endpoint that anybody adds. Nothing to do if it is there already; with other flags, or
        with another id although its own is free, it is an error, because somebody else has made
        it. ``implicit`` marks what the kernel made itself for an incoming subflow; it is not ours
        to give, and the kernel replaces such an entry.
        """
        try:
            self._add_with_any_id(endpoint)
        except NetlinkError as error:
            raise ActionError(
                f"adding {describe(endpoint)}", errno=error.errno, hint=_add_hint(error.errno)
            ) from error

    def _add(self, endpoint: Endpoint) -> None:
        """Raises NetlinkError."""
        address = [
            *place(endpoint),
            (ADDR + "FLAGS", flag_bits(endpoint.flags - {"implicit"})),
        ]
        if endpoint.id:
            address.append((ADDR + "ID", endpoint.id))
        if endpoint.port:
            address.append((ADDR + "PORT", endpoint.port))
        if endpoint.ifindex:
            address.append((ADDR + "IF_IDX", endpoint.ifindex))
        self._change(ADD_ADDR, address)

    def _add_with_any_id(self, endpoint: Endpoint) -> None:
        """Raises NetlinkError."""
        try:
            self._add(endpoint)
        except NetlinkError as error:
            # EBUSY: the id is taken, which is looked at before the address.
            if error.errno not in (errno.EEXIST, errno.EBUSY):
                raise
            present = self.list()
            held = next((other for other in present if same_place(other, endpoint)), None)
            owner = next((other for other in present if other.id == endpoint.id), None)
            if held is None and owner is not None:
                self._add(replace(endpoint, id=0))
                _log.warning(
                    "%s: %s has its id now; added with an id of the kernel's choice",
                    describe(endpoint),
                    owner.address,
                )
            elif held is None or not same_but_id(held, endpoint) or (endpoint.id and not owner):
                raise

    def delete(self, endpoint: Endpoint) -> None:
        """Remove the endpoint of that address and port: the kernel closes its subflows.

        Nothing to do if it is gone. An ``id`` of 0 and no endpoint of that address: the initial
        subflows from the address are closed (address id 0, RFC 8684 section 3.4.2). May block for
        some hundred milliseconds after it has taken effect.
        """
        held = self.find(endpoint)
        if held is not None:
            address = [(ADDR + "ID", held.id)]
        elif endpoint.id == 0:
            address = [(ADDR + "ID", 0), *place(endpoint)]
        else:
            return
        try:
            self._change(DEL_ADDR, address)
        except NetlinkError as error:
            # An unknown id is EINVAL in the kernel, not ENOENT: somebody was quicker.
            if error.errno in (errno.ENOENT, errno.EINVAL) and self.find(endpoint) is None:
                return
            raise ActionError(
                f"deleting {describe(endpoint)}",
                errno=error.errno,
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
            self._change(SET_FLAGS, [(ADDR + "ID", held.id), (ADDR + "FLAGS", flag_bits(flags))])
        except NetlinkError as error:
            raise ActionError(
                f"changing the priority of {describe(held)}",
                errno=error.errno,
                hint="it must have the subflow flag, not only signal",
            ) from error

    def limits(self) -> Limits:
        """The limits of this namespace."""
        try:
            (answer,) = self._call(GET_LIMITS, [])
        except NetlinkError as error:
            raise ActionError("reading the MPTCP limits", errno=error.errno) from error
        return Limits(
            subflows=answer.get_attr("MPTCP_PM_ATTR_SUBFLOWS"),
            add_addr_accepted=answer.get_attr("MPTCP_PM_ATTR_RCV_ADD_ADDRS"),
        )

    def set_limits(self, limits: Limits) -> None:
        """Set both limits; the kernel takes at most 8 each up to Linux 6.18."""
        try:
            self._call(
                SET_LIMITS,
                [
                    ("MPTCP_PM_ATTR_SUBFLOWS", limits.subflows),
                    ("MPTCP_PM_ATTR_RCV_ADD_ADDRS", limits.add_addr_accepted),
                ],
            )
        except NetlinkError as error:
            raise ActionError(
                f"setting the MPTCP limits to {limits.subflows} subflows and "
                f"{limits.add_addr_accepted} accepted addresses",
                errno=error.errno,
                hint="most kernels take at most 8",
            ) from error


def _add_hint(code: int | None) -> str:
    if code in (errno.EEXIST, errno.EBUSY):
        return "an endpoint with this address or id exists and differs; remove it first"
    if code in (errno.ERANGE, errno.ENOSPC):
        return "the kernel's table is full (8 endpoints up to Linux 6.18); remove one"
    return "compare with `ip mptcp endpoint show`; a port needs the signal flag"
