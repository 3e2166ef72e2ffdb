"""An NDPI as Hamamatsu's scanners write it: 64-bit offsets, JPEG in one strip, tags of their own.

tifffile does not write it, so that it is put together here.
"""

from __future__ import annotations

import io
import struct
from typing import Any

from PIL import Image

SHORT, LONG, ASCII, RATIONAL, FLOAT, SLONG = 3, 4, 2, 5, 11, 9
PACKED = {SHORT: "<H", LONG: "<I", FLOAT: "<f", SLONG: "<i"}
MICRONS = 0.25


class NdpiWriter:
    """Pages behind each other; a page is its pixels, then values that are long, then its tags."""

    def __init__(self) -> None:
        self.content = bytearray(b"II*\0" + bytes(8))  # the offset of the first page has 8 bytes
        self.link = 4

    def put(self, data: bytes) -> int:
        place = len(self.content)
        self.content += data + bytes(len(data) % 2)
        return place

    def page(self, pixels: Any, magnification: float) -> None:
        jpeg = io.BytesIO()
        Image.fromarray(pixels).save(jpeg, "JPEG", quality=95, subsampling=0)
        height, width = pixels.shape[:2]
        per_cm = round(1e4 / MICRONS * abs(magnification) / 40)
        tags: list[tuple[int, int, Any]] = [
            (256, LONG, width), (257, LONG, height), (258, SHORT, (8, 8, 8)), (259, SHORT, 7),
            (262, SHORT, 6), (271, ASCII, b"Hamamatsu\0"), (272, ASCII, b"NanoZoomer\0"),
            (273, LONG, self.put(jpeg.getvalue())), (277, SHORT, 3), (278, LONG, height),
            (279, LONG, len(jpeg.getvalue())), (282, RATIONAL, (per_cm, 1)),
            (283, RATIONAL, (per_cm, 1)), (296, SHORT, 3), (305, ASCII, b"NDP.scan\0"),
            (65420, LONG, 1), (65421, FLOAT, magnification), (65422, SLONG, 0), (65423, SLONG, 0),
            (65424, SLONG, 0), (65427, ASCII, b"reference\0"),
        ]  # fmt: skip
        entries = b"".join(self.entry(*tag) for tag in tags)
        # Behind the tags: the next page, and the upper halves of all values.
        place = self.put(struct.pack("<H", len(tags)) + entries + bytes(8 + 4 * len(tags)))
        struct.pack_into("<Q", self.content, self.link, place)
        self.link = place + 2 + len(entries)

    def entry(self, code: int, kind: int, value: Any) -> bytes:
        if kind == ASCII:
            count, data = len(value), value
        elif kind == RATIONAL:
            count, data = 1, struct.pack("<II", *value)
        else:
            values = value if isinstance(value, tuple) else (value,)
            count, data = len(values), b"".join(struct.pack(PACKED[kind], each) for each in values)
        if len(data) > 4:
            data = struct.pack("<I", self.put(data))
        return struct.pack("<HHI", code, kind, count) + data.ljust(4, b"\0")
