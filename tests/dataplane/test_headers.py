# SPDX-License-Identifier: GPL-2.0-or-later
"""The header tree that bcc compiles against."""

from __future__ import annotations

from pathlib import Path

import pytest

from omrfast.dataplane import headers
from omrfast.dataplane.names import DataPlaneError


def make(root: Path, *files: str) -> None:
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    root = tmp_path / "src"
    make(root / "linux-headers-6.1.0-9-common", "include/linux/kernel.h")
    make(root / "linux-headers-6.1.0-9-amd64", "include/generated/autoconf.h")
    make(root / "linux-headers-6.1.0-50-common", "include/linux/kernel.h", "arch/x86/include/asm.h")
    make(root / "linux-headers-6.1.0-50-amd64", "include/generated/autoconf.h", "Makefile")
    make(root / "linux-headers-6.1.0-50-cloud-amd64", "include/generated/autoconf.h")
    make(root / "linux-headers-6.12.0-1-common", "include/linux/kernel.h")
    return root


def test_newest_complete_pair_with_the_plain_flavour(sources: Path) -> None:
    pair = headers.debian_pair(sources)
    assert pair is not None
    assert [path.name for path in pair] == [
        "linux-headers-6.1.0-50-common",
        "linux-headers-6.1.0-50-amd64",
    ]


def test_two_trees_become_one(sources: Path, tmp_path: Path) -> None:
    pair = headers.debian_pair(sources)
    assert pair is not None
    tree = headers.merged(pair, tmp_path / "merged")
    for name in ("include/linux/kernel.h", "include/generated/autoconf.h", "Makefile"):
        assert (tree / name).read_text() == name
    assert (tree / "arch/x86/include/asm.h").exists()
    made = tree.stat().st_mtime_ns
    assert headers.merged(pair, tmp_path / "merged") == tree
    assert tree.stat().st_mtime_ns == made


def test_no_headers_at_all_names_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BCC_KERNEL_SOURCE", raising=False)
    monkeypatch.setattr(headers, "SOURCES", tmp_path / "nothing")
    monkeypatch.setattr(headers, "MODULES", tmp_path / "nothing")
    with pytest.raises(DataPlaneError, match="apt-get install linux-headers"):
        headers.find(str(tmp_path))


def test_a_named_tree_must_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BCC_KERNEL_SOURCE", str(tmp_path / "no"))
    with pytest.raises(DataPlaneError, match="BCC_KERNEL_SOURCE names"):
        headers.find(str(tmp_path))
    monkeypatch.setenv("BCC_KERNEL_SOURCE", str(tmp_path))
    assert headers.find(str(tmp_path)) == str(tmp_path)
