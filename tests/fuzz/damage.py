"""Strategies that damage files: bytes of any kind, and the structure of a JSON."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st

LONG_NUMBER = 10**40
# What a reader is seldom written for.
ODD = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), LONG_NUMBER, 1e308, -1e308, 1e-320),
    *(float("nan"), float("inf"), "", "0", "nan", "1e999", "\x00", "/etc/passwd", "../a.png"),
    *([], {}, [[]], [[[]]], [None], {"": None}, "é" * 300),
)


@st.composite
def damaged_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    """Content with up to four damages: bytes changed, removed, doubled, inserted, or cut off."""
    damaged = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, len(damaged) - 1)))
        length = draw(st.integers(1, 40))
        kind = draw(st.sampled_from(("change", "remove", "double", "insert", "zero", "cut")))
        if kind == "change" and damaged:
            damaged[place] ^= draw(st.integers(1, 255))
        elif kind == "remove":
            del damaged[place : place + length]
        elif kind == "double":
            damaged[place:place] = damaged[place : place + length]
        elif kind == "insert":
            damaged[place:place] = draw(st.binary(min_size=1, max_size=length))
        elif kind == "zero":
            damaged[place : place + length] = bytes(length)
        elif kind == "cut":
            del damaged[place:]
    return bytes(damaged)


def _places(node: Any) -> list[tuple[Any, Any]]:
    """(container, key) of all values below a JSON value."""
    keys = node.keys() if isinstance(node, dict) else range(len(node))
    found = [(node, key) for key in keys]
    for key in keys:
        if isinstance(node[key], dict | list):
            found += _places(node[key])
    return found


@st.composite
def damaged_json(draw: st.DrawFn, content: Any) -> Any:
    """A JSON value in which up to three values are replaced, removed or doubled."""
    damaged = copy.deepcopy(content)
    for _ in range(draw(st.integers(1, 3))):
        places = _places(damaged)
        if not places:
            break
        container, key = places[draw(st.integers(0, len(places) - 1))]
        kind = draw(st.sampled_from(("replace", "swap", "remove", "double")))
        if kind == "replace":
            container[key] = copy.deepcopy(draw(st.sampled_from(ODD)))
        elif kind == "swap":
            other, name = places[draw(st.integers(0, len(places) - 1))]
            container[key] = copy.deepcopy(other[name])
        elif kind == "remove":
            del container[key]
        elif isinstance(container, list):
            container.append(copy.deepcopy(container[key]))
    return damaged
