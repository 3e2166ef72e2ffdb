"""Instance maps on disk: PNG, TIFF or npy files of any integer type, one per image."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from selfsam_d2.errors import InputError

__all__ = ["LABEL_MAP_SUFFIXES", "find_label_maps", "read_label_map"]

LABEL_MAP_SUFFIXES = (".png", ".tif", ".tiff", ".npy")

_COLOUR_MODES = ("RGB", "RGBA", "LA", "PA", "CMYK", "YCbCr", "LAB", "HSV")


def find_label_maps(folder: str | Path) -> dict[str, Path]:
    """List the label maps of a folder by file stem.

    Hidden files, sub-folders and files of other kinds are passed over.

    Args:
        folder: the folder.

    Returns:
        File stem -> path, sorted by stem.

    Raises:
        InputError: if the folder is missing, holds no label map, or two of one stem.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(folder, "no such folder; give the folder that holds the label maps")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() not in LABEL_MAP_SUFFIXES:
            continue
        if path.stem in found:
            raise InputError(
                path, f"has the same stem as {found[path.stem].name}; keep one file per image"
            )
        found[path.stem] = path
    if not found:
        kinds = ", ".join(LABEL_MAP_SUFFIXES)
        raise InputError(folder, f"no label map in this folder; expected files ending in {kinds}")
    return dict(sorted(found.items()))


def read_label_map(path: str | Path) -> NDArray[np.signedinteger[Any]]:
    """Read an instance map.

    Args:
        path: a PNG (grey or palette, 1 to 16 bits), TIFF or npy file of integers, of whole-numbered
            floats or of booleans; 0 background, positive = nucleus, ids may have gaps.

    Returns:
        (H, W) int32, or int64 where an id does not fit.

    Raises:
        InputError: if the file is missing, damaged, not a single (H, W) array, a colour image, or
            has ids that are fractions, negative or beyond int64.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in LABEL_MAP_SUFFIXES:
        kinds = ", ".join(LABEL_MAP_SUFFIXES)
        raise InputError(path, f"not a label map; expected a file ending in {kinds}")
    if not path.is_file():
        raise InputError(path, "no such file")
    try:
        array = _read_array(path, suffix)
    except InputError:
        raise
    # The decoders raise whatever their parsers trip over: OSError, SyntaxError, struct.error, …
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            path, f"cannot be read ({reason}); the file is damaged, write it again"
        ) from error
    return _checked_ids(path, array)


def _read_array(path: Path, suffix: str) -> NDArray[Any]:
    if suffix == ".npy":
        return np.asarray(np.load(path, allow_pickle=False))
    if suffix == ".png":
        return _read_with_pillow(path)
    with tifffile.TiffFile(path) as file:
        needs_codec = file.pages.first.compression not in _TIFFFILE_COMPRESSIONS
        if not needs_codec:
            return np.asarray(file.asarray())
    return _read_with_pillow(path)


# What tifffile decodes by itself; for the others it needs an optional package, Pillow does not.
_TIFFFILE_COMPRESSIONS = (
    tifffile.COMPRESSION.NONE,
    tifffile.COMPRESSION.ADOBE_DEFLATE,
    tifffile.COMPRESSION.DEFLATE,
)


def _read_with_pillow(path: Path) -> NDArray[Any]:
    with warnings.catch_warnings():
        # Pillow warns of large images on stderr; a label map of a whole slide is one.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(path) as image:
            if image.mode in _COLOUR_MODES:
                raise InputError(path, _colour_problem(image.mode))
            return np.asarray(image)


def _colour_problem(kind: str) -> str:
    return (
        f"a colour image ({kind}) where a label map is needed; give an image of one channel "
        "with the nucleus id in each pixel"
    )


def _checked_ids(path: Path, array: NDArray[Any]) -> NDArray[np.signedinteger[Any]]:
    if array.ndim == 3 and array.shape[-1] in (3, 4) and 1 not in array.shape[:2]:
        raise InputError(path, _colour_problem(f"{array.shape[-1]} channels"))
    shape = tuple(side for side in array.shape if side != 1) if array.ndim > 2 else array.shape
    if len(shape) != 2 or not array.size:
        raise InputError(
            path, f"has shape {array.shape}; a label map is one (height, width) array of ids"
        )
    array = array.reshape(shape)
    if np.issubdtype(array.dtype, np.floating):
        if not (np.isfinite(array).all() and (array == np.round(array)).all()):
            raise InputError(
                path, "has fractions; a label map holds whole numbers, the nucleus ids"
            )
    elif array.dtype != np.bool_ and not np.issubdtype(array.dtype, np.integer):
        raise InputError(path, f"holds {array.dtype} values; a label map holds whole numbers")
    lowest, highest = array.min(), array.max()
    if lowest < 0:
        raise InputError(
            path, f"has the negative id {int(lowest)}; use 0 for background and 1.. for nuclei"
        )
    if int(highest) > np.iinfo(np.int64).max:
        raise InputError(path, f"has the id {int(highest)}, which is beyond 64 bits; re-number it")
    fits = int(highest) <= np.iinfo(np.int32).max
    return array.astype(np.int32 if fits else np.int64)
