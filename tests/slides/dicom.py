"""A DICOM slide of one level in one file: tiles of RGB as they are, in explicit little endian."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

SLIDE_CLASS = "1.2.840.10008.5.1.4.1.1.77.1.6"
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
SERIES, INSTANCE = "1.2.3", "1.2.3.4"
LONG_KINDS = ("OB", "SQ")  # their length has four bytes


def element(group: int, number: int, kind: str, value: Any) -> bytes:
    """A tag with its value: text, bytes, or a number of two or four bytes."""
    if kind in ("US", "UL", "FL"):
        data = struct.pack({"US": "<H", "UL": "<I", "FL": "<f"}[kind], value)
    else:
        data = value.encode() if isinstance(value, str) else value
        data += (b"\0" if kind in ("UI", "OB") else b" ") * (len(data) % 2)
    size = struct.pack("<2xI" if kind in LONG_KINDS else "<H", len(data))
    return struct.pack("<HH", group, number) + kind.encode() + size + data


def dicom_slide(image: Any, side: int) -> bytes:
    """A slide of (H, W, 3) uint8, whose sides are multiples of ``side``, that of its tiles."""
    height, width = image.shape[:2]
    tiles = image.reshape(height // side, side, width // side, side, 3).swapaxes(1, 2)
    meta = (
        element(2, 1, "OB", b"\0\1")
        + element(2, 2, "UI", SLIDE_CLASS)
        + element(2, 3, "UI", INSTANCE)
        + element(2, 0x10, "UI", EXPLICIT_LITTLE_ENDIAN)
        + element(2, 0x12, "UI", "1.2.3.5")
    )
    spacing = element(0x28, 0x30, "DS", r"0.0005\0.0005")
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(spacing)) + spacing
    measures = element(0x28, 0x9110, "SQ", item)
    shared = struct.pack("<HHI", 0xFFFE, 0xE000, len(measures)) + measures
    elements = (
        (8, 8, "CS", r"ORIGINAL\PRIMARY\VOLUME\NONE"), (8, 0x16, "UI", SLIDE_CLASS),
        (8, 0x18, "UI", INSTANCE), (8, 0x60, "CS", "SM"), (0x20, 0xD, "UI", "1.2"),
        (0x20, 0xE, "UI", SERIES), (0x20, 0x9311, "CS", "TILED_FULL"), (0x28, 2, "US", 3),
        (0x28, 4, "CS", "RGB"), (0x28, 6, "US", 0), (0x28, 8, "IS", str(tiles[..., 0, 0, 0].size)),
        (0x28, 0x10, "US", side), (0x28, 0x11, "US", side), (0x28, 0x100, "US", 8),
        (0x28, 0x101, "US", 8), (0x28, 0x102, "US", 7), (0x28, 0x103, "US", 0),
        (0x48, 6, "UL", width), (0x48, 7, "UL", height), (0x48, 0x303, "UL", 1),
        (0x5200, 0x9229, "SQ", shared), (0x7FE0, 0x10, "OB", np.ascontiguousarray(tiles).tobytes()),
    )  # fmt: skip
    head = bytes(128) + b"DICM" + element(2, 0, "UL", len(meta)) + meta
    return head + b"".join(element(*each) for each in elements)
