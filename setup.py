# SPDX-License-Identifier: GPL-2.0-or-later
"""What is built beside the Python modules: the cffi shim, the BPF object, the link emulator.

Everything is built in the source tree (so that an editable install finds it), only when one of its
sources is newer, and copied from there into a wheel.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import ExecError

ROOT = Path(__file__).resolve().parent
BPF_SOURCE = ROOT / "bpf/omrfast.bpf.c"
BPF_OBJECT = ROOT / "omrfast/dataplane/omrfast.bpf.o"
WIRE_SOURCE = ROOT / "omrfast/lab/wire.c"
WIRE = ROOT / "omrfast/lab/wire"


def is_fresh(target: Path, sources: list[Path]) -> bool:
    """Is the target there and newer than all of its sources?"""
    if not target.exists():
        return False
    made = target.stat().st_mtime
    return all(source.stat().st_mtime <= made for source in sources)


def run(command: list[str], missing: str) -> None:
    """Run a compiler; raises ExecError that says what to install or what failed."""
    print(" ".join(command), flush=True)
    try:
        subprocess.run(command, cwd=ROOT, check=True)
    except FileNotFoundError:
        raise ExecError(f"{command[0]} is not installed: {missing}") from None
    except subprocess.CalledProcessError as error:
        raise ExecError(f"{command[0]} failed with status {error.returncode}") from None


def write_with(target: Path, command: list[str], missing: str) -> None:
    """Let the command write a temporary file and put it in place at once."""
    partial = target.with_name(target.name + ".part")
    run([*command, "-o", str(partial)], missing)
    os.replace(partial, target)


def include_dirs() -> list[str]:
    """Where <asm/types.h> is: on Debian below the multiarch name, elsewhere in /usr/include."""
    names = [sysconfig.get_config_var("MULTIARCH"), f"{platform.machine()}-linux-gnu"]
    for name in filter(None, names):
        folder = Path("/usr/include") / name
        if (folder / "asm/types.h").exists():
            return [f"-I{folder}"]
    return []


def build_bpf() -> None:
    sources = [*sorted((ROOT / "bpf").glob("*.h")), BPF_SOURCE]
    if is_fresh(BPF_OBJECT, sources):
        return
    flags = ["-O2", "-g", "-Wall", "-Wextra", "-Werror", "-target", "bpf", "-mcpu=v3"]
    command = ["clang", *flags, *include_dirs(), "-c", str(BPF_SOURCE.relative_to(ROOT))]
    write_with(BPF_OBJECT, command, "apt-get install clang libbpf-dev")


def build_wire() -> None:
    sources = [*sorted(WIRE_SOURCE.parent.glob("*.h")), WIRE_SOURCE]
    if not is_fresh(WIRE, sources):
        command = ["cc", "-O2", "-Wall", "-Wextra", str(WIRE_SOURCE.relative_to(ROOT))]
        write_with(WIRE, command, "apt-get install gcc libc6-dev")


class BuildAll(build_ext):
    """build_ext that also builds what no Python extension covers."""

    def run(self) -> None:
        built = []
        for source, target, build in (
            (BPF_SOURCE, BPF_OBJECT, build_bpf),
            (WIRE_SOURCE, WIRE, build_wire),
        ):
            if source.exists():
                build()
                built.append(target)
        super().run()
        if not self.editable_mode and not self.inplace:
            for target in built:
                copy = Path(self.build_lib) / target.relative_to(ROOT)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(target, copy)

    def build_extension(self, ext: Extension) -> None:
        """Compile only if the extension in the source tree is older than what it is made of."""
        in_tree = ROOT / self.get_ext_filename(ext.name)
        target = Path(self.get_ext_fullpath(ext.name))
        sources = [ROOT / name for name in ext.depends]
        if not self.force and is_fresh(in_tree, sources):
            if target.resolve() != in_tree:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(in_tree, target)
            return
        super().build_extension(ext)


setup(
    cmdclass={"build_ext": BuildAll},
    cffi_modules=["omrfast/shim/build.py:ffi"],
    package_data={
        "omrfast.dataplane": ["src/*.h", "src/*.c"],
        "omrfast.lab": ["*.c", "*.h"],
    },
)
