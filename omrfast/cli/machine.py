# SPDX-License-Identifier: GPL-2.0-or-later
"""`omrfast check`, first half: kernel features, capabilities, loaders. Probed, not guessed."""

from __future__ import annotations

import ctypes
import errno
import importlib
import importlib.util
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

from omrfast.cli.finding import Finding

# include/uapi/linux/bpf.h
BPF_MAP_TYPE_RINGBUF = 27
BPF_PROG_TYPE_SCHED_CLS = 3
BPF_PROG_TYPE_XDP = 6

# include/uapi/linux/capability.h, with what needs it
CAPABILITIES = {
    "CAP_NET_ADMIN": (12, "endpoints, routes, attaching"),
    "CAP_NET_RAW": (13, "probes"),
    "CAP_PERFMON": (38, "packet programs"),
    "CAP_BPF": (39, "maps and packet programs"),
}
BTF = Path("/sys/kernel/btf/vmlinux")
_LOOPBACK = 1


def _libbpf() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL("libbpf.so.1")
    except OSError:
        return None


def _bpf_feature(name: str, answer: int, without: str) -> Finding:
    """``answer``: of libbpf_probe_bpf_*(): 1 there, 0 not there, negative errno."""
    if answer == 1:
        return Finding(name, True, "there")
    if answer < 0:
        why = os.strerror(-answer)
        return Finding(name, False, f"can't be probed: {why}", "run as root (CAP_BPF)")
    return Finding(name, False, "not in this kernel", without)


def _bpf() -> Iterator[Finding]:
    library = _libbpf()
    if library is None:
        yield Finding("libbpf", False, "libbpf.so.1 not found", "apt-get install libbpf1")
        return
    may = _holds("CAP_BPF") and _holds("CAP_PERFMON")
    boot = "boot a kernel with CONFIG_BPF_SYSCALL=y, 6.1 or newer"
    probe_map, probe_program = (
        library.libbpf_probe_bpf_map_type,
        library.libbpf_probe_bpf_prog_type,
    )
    for name, probe, kind in (
        ("BPF ring buffer", probe_map, BPF_MAP_TYPE_RINGBUF),
        ("BPF TC programs", probe_program, BPF_PROG_TYPE_SCHED_CLS),
        ("BPF XDP programs", probe_program, BPF_PROG_TYPE_XDP),
    ):
        # libbpf takes a refusal for a missing feature.
        answer = probe(kind, None) if may else -errno.EPERM
        yield _bpf_feature(name, answer, boot)


def _shim() -> Finding:
    try:
        importlib.import_module("omrfast.shim.api")
    except ImportError as error:
        return Finding("shim", False, f"does not load: {error}", "run make setup")
    return Finding("shim", True, "loads, and its structs are those of the packet programs")


def _tcx() -> Finding:
    from omrfast.shim import api, link

    try:
        there = link.tcx_query(_LOOPBACK, api.HOOK_TCX_INGRESS) is not None
    except OSError as error:
        return Finding("TCX", None, f"can't be probed: {error}", "run as root")
    if there:
        return Finding("TCX", True, "there: attached by links, nothing to clean up in tc")
    return Finding("TCX", True, "not in this kernel (6.6 brought it): clsact filters are used")


def _btf() -> Finding:
    if BTF.exists():
        return Finding("BTF", True, f"{BTF}, {BTF.stat().st_size // 1024} KiB")
    return Finding(
        "BTF",
        None,
        f"no {BTF}: the prebuilt object may not load",
        'boot a kernel with CONFIG_DEBUG_INFO_BTF=y, or write loader = "bcc" under [agent]',
    )


def effective_capabilities() -> int:
    """This process's effective set, as a bit mask (proc(5), CapEff)."""
    for line in Path("/proc/self/status").read_text("ascii", "replace").splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def _holds(capability: str) -> bool:
    return bool(effective_capabilities() >> CAPABILITIES[capability][0] & 1)


def _capabilities() -> Finding:
    missing = [name for name in CAPABILITIES if not _holds(name)]
    if missing:
        return Finding(
            "capabilities",
            False,
            "missing: " + ", ".join(f"{name} ({CAPABILITIES[name][1]})" for name in missing),
            f"run as root, or give the service AmbientCapabilities={' '.join(missing)} "
            "and mount a bpffs at run_dir/bpf beforehand",
        )
    return Finding("capabilities", True, " ".join(CAPABILITIES))


def _prebuilt() -> Finding:
    from omrfast.dataplane.prebuilt import OBJECT

    if OBJECT.exists():
        return Finding("prebuilt object", True, f"{OBJECT.stat().st_size // 1024} KiB")
    return Finding("prebuilt object", None, "not built: only bcc can load", "run make setup")


def _header_tree() -> str | None:
    from omrfast.dataplane import headers

    own = headers.MODULES / platform.release() / "build"
    if named := os.environ.get("BCC_KERNEL_SOURCE"):
        return named if os.path.isdir(named) else None
    if own.is_dir():
        return str(own)
    pair = headers.debian_pair(headers.SOURCES)
    return None if pair is None else str(pair[1])


def _bcc() -> Finding:
    if importlib.util.find_spec("bcc") is None:
        return Finding(
            "bcc loader",
            None,
            "python3-bpfcc is not installed; the prebuilt object is enough",
            "apt-get install python3-bpfcc, to compile on this machine",
        )
    tree = _header_tree()
    if tree is None:
        return Finding(
            "bcc loader",
            None,
            "no kernel header tree to compile with; the prebuilt object is enough",
            f"apt-get install linux-headers-{platform.release()}, or linux-headers-amd64",
        )
    return Finding("bcc loader", True, f"bcc there, headers in {tree}")


def _lab() -> Finding:
    if shutil.which("nft") is None:
        return Finding("lab", None, "no nft: the lab can't do NAT", "apt-get install nftables")
    return Finding("lab", True, "nft there")


def _kernel() -> Finding:
    from omrfast.act.errors import ActionError
    from omrfast.act.sockets import SocketDiag

    release = platform.release()
    diag = SocketDiag()
    try:
        diag.subflows()
    except ActionError as error:
        return Finding(
            "kernel",
            None,
            f"Linux {release}; {error}: handshakes stuck on a dead path stay stuck",
            "boot a kernel with CONFIG_INET_DIAG=y and CONFIG_INET_DIAG_DESTROY=y",
        )
    finally:
        diag.close()
    return Finding("kernel", True, f"Linux {release}, socket diagnosis there")


def findings() -> Iterator[Finding]:
    """Kernel, BPF features, capabilities, loaders, lab."""
    yield _kernel()
    yield _capabilities()
    yield _btf()
    yield from _bpf()
    shim = _shim()
    yield shim
    if shim.ok:
        yield _tcx()
        yield _prebuilt()
        yield _bcc()
    yield _lab()
