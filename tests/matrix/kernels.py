# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's own kernels, from the mirror that this machine is configured to use."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.matrix.host import BUILD, MatrixError, call, is_made, made, say, unmake

SUITES = {"6.1": "bookworm", "6.12": "bookworm-backports"}
"""Kernel series to the Debian suite whose linux-image-amd64 it is."""
META = "linux-image-amd64"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

DRIVERS = ("net", "virtio", "block", "char")
"""Below kernel/drivers, what an emulated machine may need; of net only its own modules."""


@dataclass(frozen=True)
class Kernel:
    series: str
    release: str
    """What uname -r says there."""
    folder: Path
    """The unpacked package."""

    @property
    def image(self) -> Path:
        return self.folder / f"boot/vmlinuz-{self.release}"

    @property
    def modules(self) -> Path:
        return self.folder / f"lib/modules/{self.release}"


def _mirror(label: str) -> str | None:
    """URI of the archive with that label in this machine's sources."""
    words = ["apt-get", "indextargets", "--format", "$(REPO_URI)"]
    words += ["Created-By: Packages", f"Label: {label}"]
    lines = call("reading apt's sources", words, 60).splitlines()
    return lines[0] if lines else None


def _sources(suite: str) -> str:
    """Lines of a sources.list: the suite, and its security updates where this machine has any."""
    mirror, updates = _mirror("Debian"), _mirror("Debian-Security")
    if mirror is None:
        raise MatrixError("no Debian mirror in /etc/apt/sources.list*: run apt-get update")
    lines = [f"{mirror} {suite}"]
    if updates is not None and "-" not in suite:
        lines.append(f"{updates} {suite}-security")
    return "".join(f"deb [signed-by={KEYRING}] {line} main\n" for line in lines)


def _apt(suite: str) -> list[str]:
    """Options that make apt see one suite and nothing of this machine's."""
    folder = BUILD / "apt" / suite
    for name in ("lists/partial", "archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "status").touch()
    sources = folder / "sources.list"
    sources.write_text(_sources(suite))
    settings = {
        "Dir::Etc::SourceList": sources,
        "Dir::Etc::SourceParts": "-",
        "Dir::Etc::Preferences": "-",
        "Dir::Etc::PreferencesParts": "-",
        "Dir::State::Lists": folder / "lists",
        "Dir::State::Status": folder / "status",
        "Dir::Cache": folder,
        "APT::Architecture": "amd64",
        "APT::Default-Release": "",
        "APT::Sandbox::User": "root",
        "APT::Update::Error-Mode": "any",
    }
    return [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]


def _newest(apt: list[str]) -> str:
    """The package of the kernel itself, which META depends on."""
    shown = call(f"looking for {META}", ["apt-cache", *apt, "depends", META], 120)
    for line in shown.splitlines():
        key, _, name = line.strip().partition(": ")
        if key == "Depends" and name.startswith("linux-image-"):
            return name
    raise MatrixError(f"{META} depends on no kernel: {shown!r}")


def _unpack(package: Path, folder: Path) -> None:
    call(f"unpacking {package.name}", ["dpkg-deb", "-x", str(package), str(folder)], 300)
    (modules,) = (folder / "lib/modules").iterdir()
    drivers = modules / "kernel/drivers"
    unused = [path for path in drivers.iterdir() if path.name not in DRIVERS]
    unused += [path for path in (drivers / "net").iterdir() if path.is_dir()]
    for path in (*unused, modules / "kernel/sound"):
        shutil.rmtree(path)


def fetch(series: str) -> Kernel:
    """The newest kernel of a series; downloaded only if another one is there."""
    suite = SUITES[series]
    apt = _apt(suite)
    call(f"package lists of {suite}", ["apt-get", *apt, "update", "-q"], 600)
    name = _newest(apt)
    kernel = Kernel(series, name.removeprefix("linux-image-"), BUILD / f"kernel-{series}")
    version = call("version", ["apt-cache", *apt, "show", "--no-all-versions", name], 120)
    if is_made(kernel.folder, version):
        say(f"{series}: {name} is there")
        return kernel
    unmake(kernel.folder)
    say(f"{series}: downloading {name} from {suite}")
    archives = BUILD / "apt" / suite / "archives"
    for old in archives.glob("*.deb"):
        old.unlink()
    _download(apt, name, archives)
    (package,) = archives.glob("*.deb")
    _unpack(package, kernel.folder)
    package.unlink()
    made(kernel.folder, version)
    return kernel


def _download(apt: list[str], name: str, folder: Path) -> None:
    """apt-get download writes where it is."""
    script = 'cd "$1" && shift && exec apt-get "$@"'
    words = ["sh", "-c", script, "sh", str(folder), *apt, "download", "-q", name]
    call(f"downloading {name}", words, 1800)
