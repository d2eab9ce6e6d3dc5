# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the paths are in the kernel: found, followed, and what they leave behind."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace

from omrfast.core.config import Config, PathConfig
from omrfast.core.discover import bind, discover, gateways
from omrfast.core.events import LinkChanged, PathProof
from omrfast.core.operations import Observed
from omrfast.core.outcome import Wish
from omrfast.core.plan import Binding
from omrfast.core.types import Role

log = logging.getLogger(__name__)


class NoPathError(Exception):
    """There is nothing to look after; the text says what to do."""


class Places:
    """The agent's paths and where they are."""

    def __init__(self) -> None:
        self.bindings: dict[str, Binding] = {}
        """A path that is nowhere keeps its last place: what it left there is to be undone."""
        self._gateways: dict[str, tuple[str, ...]] = {}
        self._missing: dict[str, str] = {}
        self._retired: dict[str, tuple[PathConfig, Binding]] = {}

    # --- which paths there are ------------------------------------------------------------------

    def find(self, config: Config, observed: Observed) -> tuple[PathConfig, ...]:
        """The configured paths, else what the kernel has. Raises NoPathError if there are none."""
        paths = config.paths or self.discover(config, observed, ())
        if not paths:
            raise NoPathError(
                "no path found: no interface has an MPTCP subflow endpoint or a default route; "
                f"name the paths as [[path]] in the configuration ({config.source})"
            )
        return paths

    def discover(
        self, config: Config, observed: Observed, known: tuple[PathConfig, ...]
    ) -> tuple[PathConfig, ...]:
        """The known paths and, unless paths are configured, those that the kernel has besides."""
        if config.paths:
            return known
        taken = {path.interface for path in known}
        new = [
            (path, why)
            for path, why in discover(observed, config.quality, config.agent.objective)
            if path.interface not in taken
        ]
        for path, why in new:
            log.info("found path %s (%s): %s", path.name, path.role, why)
        return (*known, *(path for path, _ in new))

    def retire(self, old: tuple[PathConfig, ...], new: tuple[PathConfig, ...]) -> None:
        """Paths that are gone, or elsewhere from now on: their endpoints and routes go back."""
        kept = {path.name: path.interface for path in new}
        for path in old:
            if kept.get(path.name) != path.interface and path.name in self.bindings:
                name = f"{path.name} (until now on {path.interface})"
                binding = self.bindings.pop(path.name)
                self._missing.pop(path.name, None)
                binding = replace(binding, name=name, create=False, metric=None)
                self._retired[name] = (path, binding)

    # --- where they are -------------------------------------------------------------------------

    def follow(
        self, paths: tuple[PathConfig, ...], observed: Observed, *, create: bool
    ) -> tuple[dict[str, tuple[int, str, int]], list[LinkChanged]]:
        """Where the paths are now. What a path left behind is forgotten where another path is now:
        it may be the same one by another name.

        Returns the devices to measure (path: ifindex, name, ARPHRD) and whose link came or went.
        """
        before = self._missing
        found, self._missing = bind(paths, observed, create=create, before=self.bindings)
        kept = {name: b for name, b in self.bindings.items() if name in self._missing}
        self.bindings = kept | found
        taken = {binding.ifindex for binding in self.bindings.values()}
        self._retired = {
            name: (path, binding)
            for name, (path, binding) in self._retired.items()
            if binding.ifindex not in taken
        }
        self._gateways = {name: gateways(observed, b) for name, b in found.items()}
        devices = {device.index: device for device in observed.interfaces}
        measured = {
            name: (b.ifindex, devices[b.ifindex].name, devices[b.ifindex].arphrd)
            for name, b in found.items()
        }
        changes = [
            LinkChanged(path.name, path.name not in self._missing, self._why(path.name))
            for path in paths
            if (path.name in before) != (path.name in self._missing)
        ]
        return measured, changes

    def _why(self, name: str) -> str:
        return self._missing.get(name, "link is back")

    def link_down(self, index: int, text: str) -> Iterator[LinkChanged]:
        """Whose link has gone with the device of that index; each is told once."""
        for name, binding in self.bindings.items():
            if binding.ifindex == index and name not in self._missing:
                self._missing[name] = text
                yield LinkChanged(name, False, text)

    def neighbour_failed(self, index: int, address: str) -> Iterator[PathProof]:
        """The paths through that device whose gateway it is: nothing can leave on them."""
        for name, binding in self.bindings.items():
            if binding.ifindex == index and address in self._gateways.get(name, ()):
                text = f"gateway {address} does not answer ARP"
                if ":" in address:
                    text = f"gateway {address} does not answer neighbour solicitations"
                yield PathProof(name, text)

    # --- for the reconciler ---------------------------------------------------------------------

    def all(
        self, paths: tuple[PathConfig, ...], wishes: dict[str, Wish]
    ) -> tuple[tuple[PathConfig, ...], tuple[Binding, ...], dict[str, Wish]]:
        """Paths, places and wishes, those included that a reload took away."""
        as_found = {
            name: Wish(present=True, backup=path.role is Role.BACKUP, penalty=0)
            for name, (path, _) in self._retired.items()
        }
        retired = self._retired.values()
        return (
            (*paths, *(path for path, _ in retired)),
            (*self.bindings.values(), *(binding for _, binding in retired)),
            as_found | wishes,
        )
