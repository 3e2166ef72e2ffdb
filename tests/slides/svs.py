"""An SVS as Aperio's scanners write it, without compression."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tifffile


def write_svs(path: Path, image: Any, microns: float | None = 0.25, side: int = 64) -> Path:
    """The slide in tiles of a side, a thumbnail in strips, a level of a quarter of the size."""
    said = "" if microns is None else f"|MPP = {microns}"
    with tifffile.TiffWriter(path) as tiff:
        for step, tile in ((1, (side, side)), (8, None), (4, (side, side))):
            level = image[::step, ::step]
            size = f"{level.shape[1]}x{level.shape[0]}"
            text = f"Aperio Image Library v12\r\n{size}|AppMag = 40{said}"
            tiff.write(level, tile=tile, photometric="rgb", description=text, metadata=None)
    return path
