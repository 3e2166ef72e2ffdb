"""Read label maps: the value of a pixel is the id of its nucleus, 0 = background."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from selfsam_d2.errors import InputError, first_words
from selfsam_d2.structures.image_files import (
    DECODE_ERRORS,
    TOO_MANY_PIXELS,
    decode_problem,
    files_by_stem,
    opened_tiff,
    quiet_decoders,
    require_file,
    require_pixels,
)
from selfsam_d2.structures.mat_files import read_instance_map

__all__ = ["find_label_maps", "read_label_map"]

LABEL_MAP_SUFFIXES = frozenset({".png", ".tif", ".tiff", ".npy", ".mat"})
# Pillow's modes with one value per pixel; "P" holds palette indices, which are the ids.
_SINGLE_CHANNEL_MODES = frozenset({"1", "L", "P", "I", "I;16", "I;16B", "I;16L", "I;16N", "F"})
_ONE_CHANNEL = "a label map has one integer per pixel; save the ids as one channel"


def read_label_map(path: str | Path) -> npt.NDArray[np.int64]:
    """Read one label map.

    PNG (8 or 16 bit, palette indices count as ids), TIFF, ``.npy`` and the variable ``inst_map`` of
    a ``.mat`` file are read, of any integer type; floats if every value is a whole number. Ids are
    kept as they are, gaps included.

    Args:
        path: the file; its suffix says which of the four formats it is.

    Returns:
        (H, W) int64, 0 = background, ids >= 1.

    Raises:
        InputError: file missing, damaged or of another kind; more than 178 million pixels; more
            than one channel; fractions; negative ids.
    """
    path = Path(path)
    require_file(path)
    suffix = path.suffix.lower()
    if suffix not in LABEL_MAP_SUFFIXES:
        raise InputError(path, "a label map is a PNG, TIFF, .npy or .mat file")
    try:
        with quiet_decoders():
            if suffix == ".npy":
                values = _read_npy(path)
            elif suffix == ".mat":
                values = read_instance_map(path)
            elif suffix == ".png":
                values = _read_with_pillow(path)
            else:
                values = _read_tiff(path)
    except Image.DecompressionBombError as error:
        raise InputError(path, TOO_MANY_PIXELS) from error
    except DECODE_ERRORS as error:
        damaged = f"truncated, damaged or not a label map ({first_words(error)}); export it again"
        raise InputError(path, decode_problem(error, damaged)) from error
    return _as_ids(path, values)


def find_label_maps(folder: str | Path) -> dict[str, Path]:
    """The label maps of a folder (PNG, TIFF, ``.npy``, ``.mat``) by file stem, sorted by stem.

    Raises:
        InputError: no such folder, no label map in it, or two files with one stem.
    """
    return files_by_stem(folder, LABEL_MAP_SUFFIXES, "label map")


def _read_with_pillow(path: Path) -> npt.NDArray[np.generic]:
    with Image.open(path, formats=("PNG", "TIFF")) as image:
        if image.mode not in _SINGLE_CHANNEL_MODES:
            raise InputError(path, f"has colour mode {image.mode}; {_ONE_CHANNEL}")
        return np.asarray(image)


def _read_npy(path: Path) -> npt.NDArray[np.generic]:
    """Mapped first, which takes no memory and never unpickles."""
    mapped = np.lib.format.open_memmap(path, mode="r")
    require_pixels(path, mapped.shape)
    return np.array(mapped)


def _read_tiff(path: Path) -> npt.NDArray[np.generic]:
    """tifffile knows every integer type, Pillow the compressions that tifffile has no codec for."""
    try:
        with opened_tiff(path) as tiff:
            require_pixels(path, tiff.series[0].shape)
            page = tiff.series[0].keyframe
            if page.is_tiled:  # each is decoded as a whole, however small the map
                require_pixels(path, page.chunks)
            return np.asarray(tiff.asarray())
    except MemoryError:
        raise
    except DECODE_ERRORS:
        return _read_with_pillow(path)


def _as_ids(path: Path, values: npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
    if values.ndim == 3 and 1 in (values.shape[0], values.shape[-1]):
        values = values[0] if values.shape[0] == 1 else values[..., 0]
    if values.ndim != 2 or values.size == 0:
        raise InputError(path, f"has shape {values.shape}, (H, W) is needed; {_ONE_CHANNEL}")
    if values.dtype.kind not in "biuf":
        raise InputError(path, f"has type {values.dtype}; {_ONE_CHANNEL}")
    if values.dtype.kind == "f":
        whole = np.isfinite(values) & (values == np.floor(values))
        if not whole.all():
            raise InputError(
                path, "holds fractions or not-a-number; a label map holds whole ids, not a score"
            )
    if values.min() < 0:
        raise InputError(path, f"holds the negative id {values.min()}; ids start at 1, 0 is none")
    if values.max() > np.iinfo(np.int64).max:
        raise InputError(path, f"holds the id {values.max()}, too large for 64 bits")
    return values.astype(np.int64)
