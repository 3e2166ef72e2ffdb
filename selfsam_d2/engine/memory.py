"""Keep freed memory in the process: a step on a CPU spends a third of its time on fresh pages."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_freed_memory"]

# Parameters of glibc's mallopt (malloc.h).
M_TRIM_THRESHOLD = -1
M_TOP_PAD = -2
M_MMAP_THRESHOLD = -3
# Bytes. Larger blocks are mapped one by one: with all of them on the heap it falls to pieces and
# grows to several times the size (measured: 11 GB instead of 3).
LARGEST_ON_HEAP = 32 * 2**20
KEPT_FREE = 2**30
TOP_PAD = 64 * 2**20


def keep_freed_memory() -> bool:
    """Let glibc reuse the memory of freed tensors instead of giving it back to the system.

    By default what lies free at the end of the heap goes back at once, and the system clears the
    pages one by one when they are wanted again. The peak stays about the same; up to 1 GB stays
    with the process after it.

    Returns:
        whether this C library can do so; with another one (macOS, Windows, musl) nothing changes.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = (
        (M_MMAP_THRESHOLD, LARGEST_ON_HEAP),
        (M_TRIM_THRESHOLD, KEPT_FREE),
        (M_TOP_PAD, TOP_PAD),
    )
    accepted = [mallopt(name, value) == 1 for name, value in settings]
    return all(accepted)
