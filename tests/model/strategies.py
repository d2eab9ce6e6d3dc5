# SPDX-License-Identifier: GPL-2.0-or-later
"""Scripts: what happens to one or two conversations, and what strangers add to it.

A script is a list of actions (name, arguments), so that a failing one shrinks to the few that
matter.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from . import segments
from .ends import Setting
from .numbers import WORD
from .planes import PATHS
from .play import Action, Script
from .segments import Dss, Keys, Layout, option
from .wire import ACK, FIN, RST, SYN

# --- what is drawn ------------------------------------------------------------------------------

flags32 = st.sampled_from([0, 1, 1000, 2**31 - 2, 2**31, 2**32 - 1500, 2**32 - 1])
numbers32 = flags32 | st.integers(0, WORD - 1)
bools = st.booleans()
index = st.integers(0, 5)
payloads = st.sampled_from([0, 1, 2, 63, 64, 65, 536, 1000, 1001, 2999, 3000, 9000, 70000, 190000])
deltas = (
    st.sampled_from([0, 1, -1, 2, -2, 100, -100, 1000, -1000, 2**31])
    | st.sampled_from([2**26, -(2**26), 2**26 + 1, -(2**26) - 1])
    | st.sampled_from([2**30, -(2**30), 2**30 + 1, -(2**30) - 1])
    | st.integers(-(2**31), 2**31)
)
waits = st.sampled_from(
    [0.0, 0.000128, 0.0001, 0.004, 1.0, 3.99, 4.0, 4.1, 8.0, 20.0, 40.0, 200.0, 1000.0, 1004.0]
) | st.floats(0, 300).map(lambda ms: round(ms, 4))
long_waits = st.sampled_from([32_768.0, 65_536.0, 262_144.0, 540_000.0, 550_000.0, 900_000.0])

layouts = st.builds(Layout, st.sampled_from([4, 6]), st.integers(0, 2)) | st.builds(
    Layout, st.sampled_from([4, 6]), st.just(0), st.just(True)
)
keys = st.builds(
    Keys,
    st.binary(min_size=8, max_size=8),
    st.binary(min_size=8, max_size=8),
    st.binary(min_size=4, max_size=4),
    st.tuples(st.integers(0, 3) | numbers32, st.integers(0, 3) | numbers32),
)
settings = st.builds(
    Setting,
    role=st.sampled_from(["client", "server", "middle", "simultaneous"]),
    iss=st.tuples(numbers32, numbers32),
    stamps=st.sampled_from(["on", "on", "off", "zero", "frozen"]),
    stamp_base=st.tuples(numbers32, numbers32),
    mptcp=st.sampled_from(["none", "v1", "v1", "v0", "join"]),
    keys=keys,
    ids=st.tuples(st.integers(0, 255), st.integers(0, 255)),
    backup=st.tuples(bools, bools),
    mss=st.sampled_from([536, 1000, 1448, 8948, 20000]),
    syn_data=st.sampled_from([0, 0, 0, 5, 700]),
)
data_numbers = st.none() | st.sampled_from([0, 1, WORD - 1])
dss = st.builds(Dss, data_numbers, bools, data_numbers, bools, st.sampled_from([0, 1, 1000]), bools)
tcp_options = st.one_of(
    dss.map(Dss.encode),
    bools.map(lambda bit: option(30, bytes([0x50 | bit]))),
    bools.map(lambda bit: option(30, bytes([0x50 | bit, 3]))),
    st.sampled_from([8, 9, 10, 16, 18, 20, 22, 28, 30]).map(
        lambda size: option(30, b"\x31\x05" + bytes(size - 4))
    ),
    st.integers(0, 3).map(lambda count: option(30, b"\x40" + bytes(range(count)))),
    st.sampled_from([0x60, 0x70]).map(lambda head: option(30, bytes([head]) + bytes(9))),
    st.just(option(30, b"\x80\0")),
    st.builds(lambda head, rest: option(30, bytes([head]) + rest), st.integers(0, 255),
              st.binary(max_size=30)),
    st.builds(lambda left, right: segments.sack([(left, right)]), numbers32, numbers32),
    st.builds(segments.timestamps, numbers32, numbers32),
    st.sampled_from([b"\x08\x0a", b"\x08\x08\0\0\0\0\0\0", b"\x05\x0b" + bytes(9), b"\x1e\x02",
                     b"\x1e\x03\x90", b"\x02\x04\x05\xb4", b"\0", b"\1", b"\x05\x02", b"\xfe"]),
    st.binary(max_size=40),
)  # fmt: skip

flag_bytes = st.sampled_from(
    [ACK, ACK | FIN, RST, RST | ACK, SYN, SYN | ACK, 0, ACK | 8, SYN | FIN, SYN | RST, FIN]
) | st.integers(0, 255)
anchors = st.sampled_from(["snd_nxt", "snd_una", "rcv_nxt"])

mutations = st.one_of(
    st.tuples(st.just("cut"), st.integers(0, 140)),
    st.tuples(st.just("set"), st.integers(0, 120), st.integers(0, 255)),
    st.tuples(st.just("pad"), st.integers(1, 60)),
    st.tuples(st.just("wire"), st.integers(1, 3000)),
    st.tuples(st.just("gso"), st.integers(0, 70), st.integers(0, 3000)),
)

sizes = st.lists(st.sampled_from([100, 1, 1000, 2500, 9000]), min_size=1, max_size=4)
fates = st.lists(st.sampled_from(["", "", "lost", "late", "twice"]), min_size=1, max_size=4)
rtts = st.sampled_from([40.0, 10.0, 1.0, 8.0, 0.3, 41.7, 150.0]) | waits
turns = st.tuples(
    st.just("turn"), bools, sizes, fates, rtts, st.lists(bools, min_size=1, max_size=3)
)
backs = st.sampled_from([0, 1, -1, 99, 100, 101, 999, 1000, 1001, 2000, 3000]) | st.integers(
    -5, 5000
)
holes = st.one_of(
    st.tuples(
        st.just("beyond_a_hole"),
        bools,
        sizes,
        st.sampled_from([0, 1, 1000, 1100, 1101, 3000]),
        rtts,
    ),
    st.tuples(
        st.just("claim"), bools, backs, st.lists(st.tuples(backs, backs), min_size=1, max_size=4)
    ),
)
ordinary = st.one_of(
    turns,
    turns,
    holes,
    st.tuples(
        st.just("stream"),
        bools,
        st.integers(1, 6),
        st.sampled_from([100, 1000, 2500]),
        st.sampled_from([4.0, 1.0, 5.0, 20.0, 0.1]),
    ),
    st.tuples(st.just("repair"), bools, rtts),
    st.tuples(st.just("say"), bools, payloads, tcp_options),
    st.tuples(st.just("data"), bools, payloads),
    st.tuples(st.just("send"), bools, st.just(ACK)),
    st.tuples(st.just("deliver"), bools, index, bools),
    st.tuples(st.just("lose"), bools, index),
    st.tuples(st.just("again"), bools, index, st.integers(0, 3000), st.sampled_from([0, 1, 1000])),
    st.tuples(st.just("wait"), waits),
    st.tuples(st.just("dss"), bools, dss, payloads),
)
rare = st.one_of(
    st.tuples(st.just("keep_alive"), bools, st.sampled_from([0, 1]), st.sampled_from([1, 1, 2, 0])),
    st.tuples(st.just("set_window"), bools, st.sampled_from([0, 1, 500])),
    st.tuples(st.just("say"), bools, payloads, tcp_options, flag_bytes, st.sampled_from([0, 500])),
    st.tuples(st.just("shut"), bools, st.sampled_from([0, 0, 100])),
    st.tuples(st.just("say"), bools, st.just(0), st.just(b""), st.just(FIN | ACK)),
    st.tuples(st.just("say"), bools, st.just(0), st.just(b""), st.just(RST)),
    st.tuples(st.just("reset"), bools, bools, st.sampled_from([0, 0, 1, -1])),
    st.tuples(st.just("third_ack"), bools, st.sampled_from([0, 16])),
    st.tuples(st.just("opening"), st.sampled_from([10.0, 40.0])),
    st.tuples(st.just("wait"), long_waits),
    st.tuples(st.just("send"), bools, flag_bytes, payloads, st.none(), tcp_options),
    st.tuples(st.just("path"), st.sampled_from(PATHS)),
    st.tuples(st.just("anew"), settings),
)
hostile = st.one_of(
    st.tuples(st.just("stray"), bools, flag_bytes, anchors, deltas, anchors, deltas, payloads,
              tcp_options, st.sampled_from([0, 500])),
    st.tuples(st.just("knock"), numbers32, st.integers(0, 255), bools),
    st.tuples(st.just("mutant"), bools, st.lists(mutations, min_size=1, max_size=3)),
    st.tuples(st.just("packet"), bools, st.sampled_from([0, 1, 2, 6, 17, 47, 50, 58, 59, 132]),
              st.binary(max_size=40), st.sampled_from([(0, 0), (0, 0), (3, 10), (0, 10)])),
    st.tuples(st.just("icmp"), bools, st.integers(0, 15) | st.integers(128, 140),
              st.sampled_from(["", "multicast", "broadcast"])),
    st.tuples(st.just("chain"), bools, st.lists(st.sampled_from([0, 43, 44, 51, 60]), max_size=6),
              st.integers(0, 255), st.sampled_from([0, 0, 1, 8])),
    st.tuples(
        st.just("jumbo"),
        bools,
        st.sampled_from([100, 65_000, 65_536, 65_537, 100_000]),
        st.sampled_from([0, 0, 1, -1, 8]),
        st.sampled_from([(0, 0), (70, 1448)]),
    ),
    st.tuples(st.just("fragment"), bools, st.sampled_from([0, 0x2000, 0x4000, 1, 0x1FFF, 0x8000])),
    st.tuples(st.just("garbage"), bools, st.binary(min_size=15, max_size=80)),
    st.tuples(st.just("tagged"), bools, st.lists(st.sampled_from([0x8100, 0x88A8, 0x9100]),
                                                 max_size=4)),
)  # fmt: skip
flows = st.integers(0, 1)


def _actions(kinds: st.SearchStrategy[Action]) -> st.SearchStrategy[list[tuple[int, Action]]]:
    step = st.tuples(flows, kinds)
    return st.one_of(*(st.lists(step, min_size=least, max_size=60) for least in (1, 10, 25)))


kind_lists = st.one_of(
    _actions(ordinary),
    _actions(st.one_of(ordinary, ordinary, rare)),
    _actions(st.one_of(ordinary, rare, hostile)),
)
starts = st.tuples(
    st.sampled_from([1, 1000, 2**16 - 5, 2**32 - 20, 4_300_000_000, 2**40 + 2**13 - 3]),
    st.sampled_from([1, 777_000_000_000, (2**39) - 10_000_000, 2**50]),
)


@st.composite
def scripts(draw: st.DrawFn) -> Script:
    count = draw(st.integers(1, 2))
    chosen = tuple(replace(draw(settings), flow=number) for number in range(count))
    openings = tuple(draw(st.sampled_from([40.0, 10.0, 0.5, None])) for _ in chosen)
    return Script(draw(layouts), chosen, openings, draw(starts), tuple(draw(kind_lists)))
