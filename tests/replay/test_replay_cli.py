# SPDX-License-Identifier: GPL-2.0-or-later
"""`omrfast replay` as people and scripts meet it."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.dispositions import as_usual

from .handmade import CONVERSATION, EN10MB, LOCAL_MAC, Framing, out, pcap, records, write

COMMAND = [sys.executable, "-m", "omrfast.cli.main", "replay"]
PACKETS = records(CONVERSATION, Framing(EN10MB))

PATIENCE = 60


def _run(*args: str, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *args], capture_output=True, text=True, timeout=PATIENCE, check=False, **more
    )  # type: ignore[call-overload, no-any-return]


@pytest.fixture
def capture(tmp_path: Path) -> str:
    return str(write(tmp_path, pcap(PACKETS, EN10MB), "small.pcap"))


@pytest.mark.parametrize("dataplane", ["native", "kernel"])
def test_for_people(dataplane: str, capture: str) -> None:
    done = _run(capture, "--dataplane", dataplane, "--samples")
    assert (done.returncode, done.stderr) == (0, "")
    flows, samples, summary = done.stdout.strip().split("\n\n")
    [headers, row] = flows.splitlines()
    assert headers.split()[:4] == ["#", "LOCAL", "REMOTE", "KIND"]
    assert "192.168.7.2:40000" in row
    assert "1/3" in row
    assert [line.split() for line in samples.splitlines()[1:]] == [
        ["2", "#0", "20.123", "handshake"],
        ["5", "#0", "30.456", "data"],
        ["11", "#0", "22.789", "data"],
    ]
    assert summary.startswith("12 packets over 0.4 s, 12 replayed\n")
    assert "taken for local: 192.168.7.2 (by private address; --local NET says it)" in summary
    assert re.search(rf"by the {dataplane} data plane, [\d,]+ packets/s", summary)


def test_json(capture: str) -> None:
    plain = json.loads(_run(capture, "--json", "--dataplane", "native").stdout)
    sampled = json.loads(_run(capture, "--json", "--samples", "--dataplane", "native").stdout)
    assert "samples" not in plain
    assert sampled["samples"][0] == {
        "packet": 2,
        "flow": 0,
        "rtt_us": 20123,
        "source": "handshake",
    }
    assert plain["file"] == capture
    assert plain["run"]["packets_per_second"] > 0


def test_standard_input() -> None:
    done = subprocess.run(
        [*COMMAND, "-", "--json"],
        input=pcap(PACKETS, EN10MB),
        capture_output=True,
        timeout=PATIENCE,
        check=True,
    )
    assert json.loads(done.stdout)["packets"] == 12


def test_without_privileges_native_is_taken(capture: str) -> None:
    """Root by name, without any capability."""
    bare = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    done = subprocess.run(
        [*bare, *COMMAND, capture, "--json"], capture_output=True, text=True, timeout=PATIENCE
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["run"]["dataplane"] == "native"
    done = subprocess.run(
        [*bare, *COMMAND, capture, "--dataplane", "kernel"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 1
    assert "run as root" in done.stderr
    assert "--dataplane native gives the same answer" in done.stderr


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--local", "nonsense"], "'nonsense' is no address, network or MAC address"),
        (["--flows", "0"], "'0': write a whole number from 1"),
        (["--dataplane", "xdp"], "invalid choice: 'xdp'"),
    ],
)
def test_usage(args: list[str], says: str, capture: str) -> None:
    done = _run(capture, *args)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty; write a capture to it: tcpdump -w FILE -i INTERFACE"),
        (b"no capture", "is no capture"),
        (pcap(PACKETS, 189), "packets of link type 189 cannot be replayed; known:"),
        (pcap([], EN10MB)[:10], "cut off in the file's header: 6 of 20 bytes are there\n"),
    ],
)
def test_what_cannot_be_replayed(data: bytes, says: str, tmp_path: Path) -> None:
    path = str(write(tmp_path, data, "bad"))
    done = _run(path, "--dataplane", "native")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"omrfast: {path}")
    assert says in done.stderr


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    absent = str(tmp_path / "absent")
    done = _run(absent)
    assert (done.returncode, done.stderr) == (1, f"omrfast: {absent}: No such file or directory\n")
    done = _run(str(tmp_path))
    assert (done.returncode, done.stderr) == (1, f"omrfast: {tmp_path}: Is a directory\n")


def test_a_cut_file_is_shown_and_named(tmp_path: Path) -> None:
    path = str(write(tmp_path, pcap(PACKETS, EN10MB)[:-7]))
    done = _run(path, "--json", "--dataplane", "native")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert found["packets"] == 11
    assert done.stderr == f"omrfast: {found['damage']}\n"
    assert "cut off in packet 12" in done.stderr


def test_a_full_table_is_said(tmp_path: Path) -> None:
    segments = [*CONVERSATION, out("S", 5, local_port=9)]
    path = str(write(tmp_path, pcap(records(segments, Framing(EN10MB)), EN10MB)))
    done = _run(path, "--flows", "1", "--dataplane", "native")
    assert "1 packets found no room for their flow: --flows 4" in done.stdout


def test_the_flows_with_most_bytes_are_shown(tmp_path: Path) -> None:
    segments = [out("S", 5, local_port=8), *CONVERSATION, out("S", 5, local_port=9)]
    path = str(write(tmp_path, pcap(records(segments, Framing(EN10MB)), EN10MB)))
    done = _run(path, "--top", "1", "--dataplane", "native", "--local", "192.168.0.0/16")
    lines = done.stdout.splitlines()
    assert lines[1].startswith("1  192.168.7.2:40000")
    assert lines[2:4] == ["2 more flows", ""]
    assert "local, as given: 192.168.7.2" in lines


@pytest.mark.parametrize(
    ("local", "says"),
    [
        (LOCAL_MAC, "direction by given MAC address"),
        ("203.0.113.7", "nothing leaves or arrives: --local is no end of any packet"),
        ("0.0.0.0/0", "nothing leaves or arrives: both ends of every packet are local"),
    ],
)
def test_what_was_local_is_said(local: str, says: str, capture: str) -> None:
    done = _run(capture, "--local", local, "--dataplane", "native")
    assert done.returncode == 0
    assert says in done.stdout.splitlines()


def _left(folder: Path) -> list[str]:
    mounts = Path("/proc/self/mounts").read_text(encoding="ascii").splitlines()
    mounted = [line.split()[1] for line in mounts if line.split()[1].startswith(str(folder))]
    return mounted + [str(path) for path in folder.glob("omrfast-replay-*")]


def _waits_with_programs(pid: int) -> bool:
    process = Path(f"/proc/{pid}")
    try:
        links = [os.readlink(link) for link in (process / "fd").iterdir()]
    except FileNotFoundError:  # closed meanwhile
        return False
    waits_for = (process / "wchan").read_text(encoding="ascii")
    return "anon_inode:bpf-prog" in links and "pipe_read" in waits_for


def _stopped(folder: Path, number: signal.Signals, when: Callable[[int], bool]) -> int:
    """How a replay that never comes to its end ends, if it gets a signal when (pid) it is time."""
    fifo = folder / "fifo"
    os.mkfifo(fifo)
    running = subprocess.Popen(
        [*COMMAND, str(fifo), "--dataplane", "kernel"],
        env={**os.environ, "TMPDIR": str(folder)},
        preexec_fn=as_usual,
    )
    try:
        with fifo.open("wb") as writer:
            writer.write(pcap(PACKETS, EN10MB))
            writer.flush()
            deadline = time.monotonic() + PATIENCE
            while not when(running.pid):
                assert time.monotonic() < deadline, "the time to stop it did not come"
                time.sleep(0.001)
            running.send_signal(number)
            return running.wait(PATIENCE)
    finally:
        running.kill()
        running.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_when_it_is_stopped(number: signal.Signals, tmp_path: Path) -> None:
    """Stopped while it waits for more packets: the programs are held by the process alone."""
    code = _stopped(tmp_path, number, _waits_with_programs)
    assert code == (130 if number == signal.SIGINT else -signal.SIGKILL)
    assert _left(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_nothing_is_left_when_it_is_stopped_early(number: signal.Signals, tmp_path: Path) -> None:
    """Stopped as soon as there is anything that could be left: while it loads."""
    code = _stopped(tmp_path, number, lambda _: bool(_left(tmp_path)))
    assert code == (130 if number == signal.SIGINT else -number)
    assert _left(tmp_path) == []


def test_progress_on_a_terminal(tmp_path: Path) -> None:
    """Packets come until the line shows; at the end it is taken away."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    ours, theirs = pty.openpty()
    running = subprocess.Popen(
        [*COMMAND, str(fifo), "--dataplane", "native"], stdout=subprocess.DEVNULL, stderr=theirs
    )
    os.close(theirs)
    try:
        batch = pcap(PACKETS * 2000, EN10MB)[24:]
        with fifo.open("wb") as writer:
            writer.write(pcap([], EN10MB))
            deadline = time.monotonic() + PATIENCE
            while not select.select([ours], [], [], 0.1)[0]:
                assert time.monotonic() < deadline, "no progress was shown"
                writer.write(batch)
                writer.flush()
        assert running.wait(PATIENCE) == 0
        shown = os.read(ours, 65536).decode()
    finally:
        running.kill()
        running.wait()
        os.close(ours)
    assert re.match(r"\r[\d,]+ packets \x1b\[K", shown)
    assert shown.endswith("\r\x1b[K")
