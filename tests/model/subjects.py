# SPDX-License-Identifier: GPL-2.0-or-later
"""The three that must agree, and where they do not."""

from __future__ import annotations

from collections.abc import Iterator

from omrfast.dataplane.reader import DataPlane
from omrfast.shim.native import NativePlane

from .planes import Left, Reference, Shown, Step, Subject
from .programs import Programs, for_xdp

CAPACITY = 64
"""Of each flow table here."""


class Subjects:
    def __init__(self, plane: DataPlane, xdp: bool) -> None:
        self.hz, self.xdp = plane.hz, xdp
        native = NativePlane(CAPACITY, plane.hz)
        self.kernel = Programs("kernel", plane, xdp)
        self.native = Programs("native", native, xdp)
        self.model = Reference(plane.hz, CAPACITY)
        self.all: list[Subject] = [self.kernel, self.native, self.model]

    def run(self, steps: list[Step]) -> tuple[list[Shown], Left]:
        """Pass the steps through all three; what they agree on. Raises AssertionError."""
        agreed = []
        for subject in self.all:
            subject.reset()
        for number, step in enumerate(steps):
            if self.xdp:
                step = for_xdp(step)
            shown = self.kernel.pass_(step)
            if shown is None:
                continue
            agreed.append(shown)
            for other in (self.native, self.model):
                compare(f"packet {number} {step}", other.name, other.pass_(step), shown)
        left = self.kernel.left()
        for other in (self.native, self.model):
            compare("what is left", other.name, other.left(), left)
        return agreed, left


def compare(where: str, name: str, found: object, kernel: object) -> None:
    if found == kernel:
        return
    lines = [where]
    lines += [f"  {line}" for line in differences(name, found, kernel)]
    raise AssertionError("\n".join(lines))


def differences(name: str, found: object, kernel: object) -> Iterator[str]:
    pairs = [(member, getattr(found, member), getattr(kernel, member)) for member in vars(found)]
    while pairs:
        member, one, other = pairs.pop()
        if one == other:
            continue
        if isinstance(one, dict) and isinstance(other, dict):
            pairs += [(f"{member}.{key}", one.get(key), other.get(key)) for key in {**one, **other}]
        else:
            yield f"{member}: {name} {one!r}, kernel {other!r}"
