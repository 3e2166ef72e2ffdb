"""Read H&E images as 8-bit RGB arrays; whatever is not one is refused with the name of the file."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tifffile
from detectron2.utils.logger import log_first_n
from PIL import Image

from selfsam_d2.errors import InputError, UnreadableImageError
from selfsam_d2.structures.image_files import (
    DECODE_ERRORS,
    TOO_MANY_PIXELS,
    decode_problem,
    files_by_stem,
    quiet_decoders,
    require_file,
)

__all__ = ["check_images", "find_images", "has_fourth_channel", "image_size", "read_image"]

IMAGE_SUFFIXES = frozenset({".png", ".tif", ".tiff", ".jpg", ".jpeg"})
_FORMATS = ("PNG", "TIFF", "JPEG")
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_BIT_DEPTH_OFFSET = 24
_TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_GREY_MODES = frozenset({"1", "L", "LA", "La"})
_PALETTE_MODES = frozenset({"P", "PA"})
_FOUR_CHANNEL_MODES = frozenset({"RGBA", "RGBa", "RGBX"})
_REMEDY = "an 8-bit RGB image is needed, convert it"


def read_image(path: str | Path) -> npt.NDArray[np.uint8]:
    """Read one image as it is stored (no EXIF rotation; the first page of a TIFF).

    A fourth channel is dropped, which is said once per process in the log. Palette images are
    read if their palette has colours.

    Args:
        path: PNG, TIFF or JPEG.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        UnreadableImageError: the file is missing, truncated, no image, too large, grey, has more
            than 8 bits per sample or is float, or has another colour model.
    """
    path = Path(path)
    with _opened(path) as image:
        try:
            image.load()
        except DECODE_ERRORS as error:
            damaged = f"truncated or damaged image ({error}); copy or export it again"
            raise UnreadableImageError(path, decode_problem(error, damaged)) from error
        if image.mode in _PALETTE_MODES:
            pixels = np.array(image.convert("RGB"))
            if (pixels == pixels[..., :1]).all():
                raise UnreadableImageError(path, f"grey image (palette without colour); {_REMEDY}")
            return pixels
        pixels = np.array(image)
    if pixels.shape[2] == 4:
        log_first_n(
            logging.INFO,
            f"{path} has 4 channels: the fourth (alpha) is dropped, here and in further images",
            name=__name__,
        )
    return np.ascontiguousarray(pixels[..., :3])


def image_size(path: str | Path) -> tuple[int, int]:
    """Height and width in pixels, from the header: no pixel is decoded.

    Raises:
        UnreadableImageError: as :func:`read_image`, for what the header shows (not: truncated).
    """
    with _opened(Path(path)) as image:
        return image.height, image.width


def has_fourth_channel(path: str | Path) -> bool:
    """Whether :func:`read_image` drops a channel, from the header: no pixel is decoded.

    Raises:
        UnreadableImageError: as :func:`image_size`.
    """
    with _opened(Path(path)) as image:
        return image.mode in _FOUR_CHANNEL_MODES


def check_images(paths: Iterable[str | Path], *, unreadable: int = 0) -> None:
    """Read every image once, so that a damaged one stops a training before it begins.

    Args:
        paths: of the images.
        unreadable: how many are passed over.

    Raises:
        UnreadableImageError: as :func:`read_image`, for the first image in the order of ``paths``
            that is one too many.
    """
    for path in paths:
        try:
            read_image(path)
        except UnreadableImageError:
            unreadable -= 1
            if unreadable < 0:
                raise


def find_images(folder: str | Path) -> dict[str, Path]:
    """The images of a folder (PNG, TIFF, JPEG) by file stem, sorted by stem.

    Raises:
        InputError: no such folder, no image in it, or two files with one stem.
    """
    return files_by_stem(folder, IMAGE_SUFFIXES, "image")


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The image with its header read and found to be 8-bit RGB, RGBA or palette."""
    try:
        require_file(path)
    except InputError as error:
        raise UnreadableImageError(str(error)) from error
    with quiet_decoders():
        _check_sample_type(path)
        try:
            image = Image.open(path, formats=_FORMATS)
        except Image.DecompressionBombError as error:
            raise UnreadableImageError(path, TOO_MANY_PIXELS) from error
        except DECODE_ERRORS as error:
            damaged = "damaged or not an image that can be read; give PNG, TIFF or JPEG"
            raise UnreadableImageError(path, decode_problem(error, damaged)) from error
        with image:
            _check_mode(path, image.mode)
            yield image


def _check_mode(path: Path, mode: str) -> None:
    if mode in _GREY_MODES:
        raise UnreadableImageError(path, f"grey image (mode {mode}); {_REMEDY}")
    if mode != "RGB" and mode not in _PALETTE_MODES | _FOUR_CHANNEL_MODES:
        raise UnreadableImageError(path, f"colour mode {mode}; {_REMEDY}")


def _check_sample_type(path: Path) -> None:
    """Refuse more than 8 bits and floats, which Pillow would cut to 8 bits without a word."""
    try:
        with path.open("rb") as file:
            head = file.read(_PNG_BIT_DEPTH_OFFSET + 1)
    except OSError as error:
        raise UnreadableImageError(path, f"cannot be read ({error.strerror})") from error
    if head.startswith(_PNG_SIGNATURE):
        if head[_PNG_BIT_DEPTH_OFFSET:] == b"\x10":
            raise UnreadableImageError(path, f"16-bit image; {_REMEDY}")
    elif head.startswith(_TIFF_SIGNATURES):
        try:
            with tifffile.TiffFile(path) as tiff:
                dtype = tiff.pages.first.dtype
        except DECODE_ERRORS:
            return  # damaged: opening it with Pillow says so
        if dtype is not None and dtype.kind == "f":
            raise UnreadableImageError(path, f"float image; {_REMEDY}")
        if dtype is not None and dtype.itemsize > 1:
            raise UnreadableImageError(path, f"{8 * dtype.itemsize}-bit image; {_REMEDY}")
