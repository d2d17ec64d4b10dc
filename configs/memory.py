"""How the C library treats freed memory, for processes that need megabytes again and again."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGEST_KEPT = 32 << 20  # the most that glibc allows
_KEPT_IN_ALL = 256 << 20


def keep_freed_memory() -> None:
    """Make malloc keep freed blocks of up to 32 MB for the next one who asks.

    glibc gives such blocks back to the system, and whoever asks next pays for a page fault every 4 kB: without this
    a record of the builder costs a fifth more (docs/performance.md, "Levers"). It does nothing with another C
    library, which has no mallopt.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_IN_ALL)
