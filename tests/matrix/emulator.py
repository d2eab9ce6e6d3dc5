# SPDX-License-Identifier: GPL-2.0-or-later
"""An emulated machine with one of the kernels, from its boot to its end."""

from __future__ import annotations

import gzip
import lzma
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.matrix.host import BUILD, MatrixError, call, say
from tests.matrix.kernels import Kernel

HERE = Path(__file__).parent
FIRST_MODULES = ("virtio_blk", "virtio_pci", "crc32c_generic", "ext4")
"""Drivers of the disk, needed before the real root is there; those that the kernel has not built
in."""
MEMORY = "2G"
PATIENCE = 3 * 3600
"""Seconds that a machine may take altogether."""
SILENCE = 300
"""Seconds in which it must have booted."""


@dataclass(frozen=True)
class Machine:
    """One way to emulate, and what is run so."""

    name: str
    steps: tuple[str, ...]
    options: tuple[str, ...]


TESTS = Machine(
    "tests",
    ("machine", "load", "prog", "abi", "dataplane", "netem"),
    ("-accel", "tcg,thread=multi", "-smp", "2"),
)
"""As fast as can be; its time is ours, however slow its processors are."""
LAB = Machine(
    "lab",
    ("alone", "failover"),
    ("-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off", "-smp", "1"),
)
"""Each instruction takes a nanosecond of its own time, and waiting takes none of ours: what it
measures depends neither on how slow emulation is nor on what else this machine does."""
MACHINES = (TESTS, LAB)
POLL = 1.0
OWN_LOGS = ("console", "qemu")
PROGRESS = 60.0
"""Seconds between two lines of progress."""
COMMAND_LINE = (
    "console=ttyS0 quiet panic=-1 mitigations=off nokaslr random.trust_cpu=on tsc=reliable"
)


def _module_files(tree: Path, release: str) -> list[Path]:
    """FIRST_MODULES and what they need, in the order in which they load."""
    folder = tree / "usr/lib/modules" / release
    needs = {}
    for line in (folder / "modules.dep").read_text().splitlines():
        path, _, others = line.partition(":")
        needs[Path(path).name.split(".")[0].replace("-", "_")] = [path, *others.split()]
    result: list[Path] = []
    for name in FIRST_MODULES:
        for path in reversed(needs.get(name, [])):
            if folder / path not in result:
                result.append(folder / path)
    return result


def _plain(path: Path) -> bytes:
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data


def initramfs(tree: Path, kernel: Kernel) -> Path:
    """Busybox, the disk's drivers and initramfs-init, packed."""
    root = BUILD / f"initramfs-{kernel.series}"
    shutil.rmtree(root, ignore_errors=True)
    for name in ("bin", "dev", "modules", "root"):
        (root / name).mkdir(parents=True)
    busybox = shutil.which("busybox")
    assert busybox is not None
    shutil.copy2(busybox, root / "bin/busybox")
    shutil.copy2(HERE / "initramfs-init", root / "init")
    for number, path in enumerate(_module_files(tree, kernel.release)):
        (root / f"modules/{number:02}-{path.name.split('.')[0]}.ko").write_bytes(_plain(path))
    target = root.with_suffix(root.suffix + ".cpio")
    script = f"cd '{root}' && find . | busybox cpio -o -H newc >'{target}'"
    call("initramfs", ["sh", "-ec", script], 60)
    packed = target.with_name(f"{target.name}.gz")
    packed.write_bytes(gzip.compress(target.read_bytes(), 1))
    target.unlink()
    shutil.rmtree(root)
    return packed


def _command(
    kernel: Kernel, machine: Machine, image: Path, initrd: Path, folder: Path, wish: str
) -> list[str]:
    share = f"local,path={folder},mount_tag=matrix,security_model=none,id=matrix"
    return [
        *("nice", "-n", "5", "qemu-system-x86_64", *machine.options, "-cpu", "max", "-m", MEMORY),
        *("-nodefaults", "-display", "none", "-no-reboot", "-nic", "none"),
        *("-kernel", str(kernel.image), "-initrd", str(initrd)),
        *("-append", f"{COMMAND_LINE} {wish}"),
        *("-serial", f"file:{folder / 'console.log'}"),
        *("-drive", f"file={image},format=raw,if=virtio,snapshot=on"),
        *("-virtfs", share, "-device", "virtio-rng-pci"),
    ]


def _said(folder: Path) -> Iterator[str]:
    """Each line of progress once, whenever it comes; "" if there is none for now."""
    done = 0
    path = folder / "console.log"
    while True:
        text = path.read_text(errors="replace") if path.exists() else ""
        lines = re.findall(r"^.*?matrix: (.*)\n", text, re.MULTILINE)
        yield from lines[done:]
        done = len(lines)
        yield ""


def _under_way(folder: Path) -> str:
    """The step under way, and how far each process of its tests is, as pytest wrote it."""
    begun = [path.stem for path in folder.glob("*.log") if "-" not in path.stem]
    steps = [
        name for name in begun if name not in OWN_LOGS and not (folder / f"{name}.rc").exists()
    ]
    if not steps:
        return "booting"
    shown = [
        re.findall(r"\[ *(\d+%)\]", path.read_text(errors="replace"))[-1:]
        for path in sorted(folder.glob(f"{steps[0]}-*.log"))
    ]
    return " ".join([steps[0], *(percent for found in shown for percent in found)])


def _watch(process: subprocess.Popen[bytes], series: str, folder: Path) -> None:
    """Until the machine is off; MatrixError if it hangs."""
    begin = last = time.monotonic()
    said = _said(folder)
    while process.poll() is None:
        now = time.monotonic()
        while line := next(said):
            say(f"{series}: {line}")
            last = now
        if now - begin > PATIENCE:
            raise MatrixError(f"{series}: not done after {PATIENCE} s ({folder})")
        if now - begin > SILENCE and not (folder / "booted").exists():
            raise MatrixError(f"{series}: not booted after {SILENCE} s ({folder}/console.log)")
        if now - last > PROGRESS:
            say(f"{series}: {_under_way(folder)}")
            last = now
        time.sleep(POLL)
    while line := next(said):
        say(f"{series}: {line}")


def folder_of(kernel: Kernel, machine: Machine) -> Path:
    """Where the machine leaves what it found."""
    return BUILD / kernel.series / machine.name


def run(
    kernel: Kernel, machine: Machine, image: Path, initrd: Path, wanted: Sequence[str], every: int
) -> None:
    """Boot, run those steps of the machine that are wanted, switch off.

    ``every``: of tests/prog only every so many-th test.

    MatrixError if it does not boot or hangs.
    """
    folder = folder_of(kernel, machine)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    steps = [name for name in machine.steps if name in wanted]
    if not steps:
        return
    say(f"{kernel.series}: booting {kernel.release} for {', '.join(steps)} (logs in {folder})")
    wish = f"matrix.steps={','.join(steps)} matrix.every={every}"
    with (folder / "qemu.log").open("wb") as log:
        process = subprocess.Popen(
            _command(kernel, machine, image, initrd, folder, wish),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "TMPDIR": str(BUILD)},
        )
        try:
            _watch(process, kernel.series, folder)
        finally:
            process.kill()
            process.wait()
    if not (folder / "booted").exists():
        raise MatrixError(f"{kernel.series}: did not boot: {folder}/console.log, {folder}/qemu.log")
