# SPDX-License-Identifier: GPL-2.0-or-later
"""How cffi makes ``omrfast.shim._shim``; setup.py refers to ``ffi``.

API mode: the structs come from bpf/abi_types.h, the functions from shim_api.h, both read by
cdef() as they are; the C compiler then checks every size and offset against the same files.
"""

from __future__ import annotations

import re
from pathlib import Path

from cffi import FFI

ROOT = Path(__file__).resolve().parents[2]
SHIM = Path("omrfast/shim")
SOURCES = tuple(
    str(SHIM / f"{name}.c")
    for name in (
        *("log", "object", "link", "mount", "read", "flows", "ring", "run"),
        *("table", "native", "native_maps", "replay"),
    )
)
DEPENDS = (
    *SOURCES,
    *(str(SHIM / name) for name in ("shim.h", "shim_api.h", "table.h", "native.h", "build.py")),
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "bpf").glob("*.h")),
)

# As in asm-generic/int-ll64.h; __SANE_USERSPACE_TYPES__ makes it so on every architecture.
_TYPES = """
typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
"""


def declarations() -> str:
    """The text for cdef()."""
    texts = [_TYPES]
    for name in ("bpf/abi_types.h", "bpf/scan_types.h", str(SHIM / "shim_api.h")):
        text = (ROOT / name).read_text(encoding="utf-8")
        # A comment after a #define confuses cdef().
        texts.append(re.sub(r"(?s)/\*.*?\*/", "", text))
    return "\n".join(texts)


ffi = FFI()
ffi.cdef(declarations())
ffi.set_source(
    "omrfast.shim._shim",
    '#include "shim.h"\n',
    sources=list(SOURCES),
    depends=list(DEPENDS),
    include_dirs=[str(SHIM)],
    libraries=["bpf"],
    define_macros=[("__SANE_USERSPACE_TYPES__", None), ("OMR_NATIVE", None)],
    # The headers in bpf/ read keys as words, which the kernel's rules for aliasing allow.
    extra_compile_args=["-O2", "-Wall", "-Wextra", "-Wno-unused-parameter", "-fno-strict-aliasing"],
)
