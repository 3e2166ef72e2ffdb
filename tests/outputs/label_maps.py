"""Random label maps of the shapes that are hard to outline."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

SIDE = 32  # px
KINDS = ("pixel", "ring", "diagonal", "block", "noise")


def draw(
    map_: NDArray[np.int32], number: int, kind: str, x: int, y: int, side: int, seed: int
) -> None:
    """One nucleus over what is there."""
    window = map_[y : y + side, x : x + side]
    if kind == "pixel":
        map_[y, x] = number
    elif kind == "ring":  # with a hole, in which another nucleus may lie
        hole = window[1:-1, 1:-1].copy()
        window[:] = number
        window[1:-1, 1:-1] = hole
    elif kind == "diagonal":  # parts that touch at their corners alone
        rows = np.arange(min(window.shape))
        window[rows, rows] = number
    elif kind == "block":
        window[:] = number
    else:
        window[np.random.default_rng(seed).random(window.shape) < 0.5] = number


@st.composite
def label_maps(choose: Any) -> NDArray[np.int32]:
    """(h, w) int32, at most 12 nuclei, one over another; some may be gone."""
    height, width = choose(st.integers(1, SIDE)), choose(st.integers(1, SIDE))
    map_ = np.zeros((height, width), dtype=np.int32)
    for number in range(1, 1 + choose(st.integers(0, 12))):
        x, y = choose(st.integers(0, width - 1)), choose(st.integers(0, height - 1))
        kind, side = choose(st.sampled_from(KINDS)), choose(st.integers(1, 10))
        draw(map_, number, kind, x, y, side, choose(st.integers(0, 99)))
    return map_


LABEL_MAPS = label_maps()
