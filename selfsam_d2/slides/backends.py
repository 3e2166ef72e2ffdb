"""The libraries that read slides: tiffslide, OpenSlide, memory maps and decoders of images."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from selfsam_d2.data.images import IMAGE_SUFFIXES
from selfsam_d2.errors import InputError, UnreadableImageError, first_words
from selfsam_d2.slides.decoded_image import DecodedImage
from selfsam_d2.slides.microns import mean_microns, tiff_microns_per_pixel
from selfsam_d2.slides.reader import TIFF_SUFFIXES, Slide
from selfsam_d2.structures.image_files import (
    DECODE_ERRORS,
    decode_problem,
    opened_tiff,
    quiet_decoders,
    require_file,
)

__all__ = ["open_slide"]

TIFFSLIDE_SUFFIXES = TIFF_SUFFIXES | {".ndpi", ".qptiff", ".scn", ".svs"}
CANNOT_OPEN: tuple[type[Exception], ...] = (*DECODE_ERRORS, InputError)
LARGEST_PIECE = 64_000_000  # px, of what is compressed in one
LONGEST_SIDE = 2_000_000  # px: a slide of 75 mm at 0.04 µm/px
SIDES = ("height", "width")


class TiffSlideFile(Slide):
    """A slide that tiffslide reads: SVS, NDPI, SCN, QPTIFF, OME-TIFF, TIFF."""

    def __init__(self, path: Path) -> None:
        tiffslide = _import("tiffslide", path, "slides")
        self.path = path
        self._slide = tiffslide.TiffSlide(path)
        properties = self._slide.properties
        self.levels = tuple(self._slide.level_dimensions)
        pages = list(_pages(properties, self._slide.ts_tifffile))
        _refuse_impossible_size(path, self.levels)
        _refuse_unlisted(path, pages)
        _refuse_large_pieces(path, map(_piece, pages))
        _refuse_fluorescence(path, self._slide.ts_tifffile)
        found = [properties.get(f"tiffslide.mpp-{axis}") for axis in "xy"]
        self.microns_per_pixel = tiff_microns_per_pixel(path) or mean_microns(found)

    def _read(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[Any]:
        # It takes places in px of level 0 and rounds them down to the level's.
        factor = self._slide.level_downsamples[level]
        place = (math.ceil(x * factor), math.ceil(y * factor))
        pixels = self._slide.read_region(place, level, (width, height), as_array=True)
        return np.asarray(pixels)

    def close(self) -> None:
        self._slide.close()


class OpenSlideFile(Slide):
    """A slide that OpenSlide reads: MRXS, DICOM, BIF, VMS ...

    Where it tells the scanned area, the slide is that area and not the whole canvas, as in QuPath,
    so that outlines lie in the same place there.
    """

    def __init__(self, path: Path) -> None:
        openslide = _import("openslide", path, "openslide")
        self.path = path
        self._error = openslide.OpenSlideError
        try:
            self._slide = openslide.OpenSlide(path)
        except openslide.OpenSlideError as error:
            raise OSError(str(error)) from error
        properties = self._slide.properties
        canvas = self._slide.level_dimensions
        _refuse_impossible_size(path, canvas)
        _refuse_large_pieces(path, _tiles(properties, len(canvas)))
        self._left, self._top, *size = _scanned_area(properties, canvas[0])
        self.levels = tuple(_scaled(size, canvas[0], level) for level in canvas)
        names = (openslide.PROPERTY_NAME_MPP_X, openslide.PROPERTY_NAME_MPP_Y)
        found = [properties.get(each) for each in names]
        # It does not read the OME-XML of a TIFF that tiffslide left to it.
        self.microns_per_pixel = tiff_microns_per_pixel(path) or mean_microns(found)
        self.series = properties.get("dicom.SeriesInstanceUID")

    def _read(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[Any]:
        factor = self._slide.level_downsamples[level]
        place = (self._left + round(x * factor), self._top + round(y * factor))
        try:
            return np.asarray(self._slide.read_region(place, level, (width, height)))
        except self._error as error:
            raise OSError(str(error)) from error

    def close(self) -> None:
        self._slide.close()


class MappedTiff(Slide):
    """A TIFF that lies in the file as it is, without compression: any part is read at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pixels = tifffile.memmap(path, mode="r")
        self.levels = ((self._pixels.shape[1], self._pixels.shape[0]),)
        self.microns_per_pixel = tiff_microns_per_pixel(path)

    def _read(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[Any]:
        del level
        return np.asarray(self._pixels[y : y + height, x : x + width])

    def close(self) -> None:
        del self._pixels


def open_slide(path: str | Path) -> Slide:
    """Open a slide; to be closed, or used in a ``with`` statement.

    Args:
        path: SVS, NDPI, SCN, QPTIFF, OME-TIFF or TIFF for tiffslide; a TIFF in strips, PNG or
            JPEG, which is decoded as a whole; what tiffslide cannot read, and any other format,
            for OpenSlide.

    Raises:
        InputError: no such file, no slide that can be read, or the library is not installed.
    """
    path = Path(path)
    require_file(path)
    suffix = path.suffix.lower()
    try:
        with quiet_decoders():
            if suffix in IMAGE_SUFFIXES - TIFF_SUFFIXES:
                return DecodedImage(path)
            if suffix not in TIFFSLIDE_SUFFIXES:
                return OpenSlideFile(path)
            return (_plain(path) if suffix in TIFF_SUFFIXES else None) or TiffSlideFile(path)
    except DECODE_ERRORS as error:
        other = _with_openslide(path)
        if other is not None:
            return other
        damaged = (
            f"damaged or not a slide that can be read ({first_words(error)}); copy or export it "
            "again"
        )
        raise InputError(path, decode_problem(error, damaged)) from error


def _plain(path: Path) -> Slide | None:
    """A TIFF without tiles and levels, mapped or decoded; None: it is no such, or too large."""
    with opened_tiff(path) as tiff:
        series = tiff.series[0]
        one_level = len(series.levels) == 1
        mapped = one_level and series.axes == "YXS" and series.keyframe.is_memmappable
        in_strips = one_level and not series.keyframe.is_tiled
    if mapped:
        return MappedTiff(path)
    try:
        return DecodedImage(path) if in_strips else None
    except UnreadableImageError:
        return None  # tiffslide reads what is too large for Pillow, or says what else is wrong


def _with_openslide(path: Path) -> Slide | None:
    """The slide if OpenSlide is installed and can read what tiffslide cannot."""
    if path.suffix.lower() not in TIFFSLIDE_SUFFIXES:
        return None
    try:
        with quiet_decoders():
            return OpenSlideFile(path)
    except CANNOT_OPEN:
        return None  # what tiffslide said is what the user is told


def _import(module: str, path: Path, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            path, f"needs the extra `{extra}`: python -m pip install '.[{extra}]'"
        ) from error


def _pages(properties: Mapping[str, Any], tiff: tifffile.TiffFile) -> Iterator[tifffile.TiffPage]:
    """The page of each level that tiffslide reads."""
    # A slide of Leica is put together from several series.
    parts = (properties.get("tiffslide.series-composition") or {}).get("located_series")
    for number in parts or [properties.get("tiffslide.series-index", 0)]:
        for level in tiff.series[number].levels:
            yield level.keyframe


def _piece(page: tifffile.TiffPage) -> tuple[int, ...]:
    """Height and width of a tile or strip, px."""
    # Tiffslide's own sides of a tile are 0 where there are strips. A tile may have depth.
    return page.tile or (page.rowsperstrip, page.imagewidth)


def _tiles(properties: Mapping[str, str], levels: int) -> Iterator[tuple[int, ...]]:
    """Height and width of a tile of each level of which OpenSlide tells them, px."""
    for level in range(levels):
        told = [properties.get(f"openslide.level[{level}].tile-{side}") for side in SIDES]
        found = tuple(int(each) for each in told if each is not None)
        if len(found) == len(SIDES):
            yield found


def _refuse_large_pieces(path: Path, pieces: Iterable[tuple[int, ...]]) -> None:
    """A compressed piece is decoded as a whole, however small the region that is read of it."""
    for piece in pieces:
        if math.prod(piece) > LARGEST_PIECE:
            raise InputError(
                path,
                f"is compressed in pieces of {' x '.join(map(str, reversed(piece)))} px; save it "
                "as a tiled TIFF, as QuPath and `vips tiffsave --tile` do",
            )


def _refuse_impossible_size(path: Path, levels: Iterable[tuple[int, int]]) -> None:
    """Otherwise a few damaged bytes of a header keep a thumbnail of it from ending."""
    for level in levels:
        if max(level) > LONGEST_SIDE:
            raise InputError(
                path,
                f"says that it has {level[0]} x {level[1]} px, more than any slide; copy or export "
                "it again",
            )


def _refuse_unlisted(path: Path, pages: Iterable[tifffile.TiffPage]) -> None:
    """Tiles that the file does not list would be read as black ones, one by one."""
    for page in pages:
        expected = math.prod(page.chunked)
        if len(page.dataoffsets) < expected:
            raise InputError(
                path,
                f"lists {len(page.dataoffsets)} of the {expected} tiles or strips of its "
                f"{page.imagewidth} x {page.imagelength} px; copy or export it again",
            )


def _refuse_fluorescence(path: Path, tiff: tifffile.TiffFile) -> None:
    """A fourth channel would be taken for opacity; three may be colours, but not in a QPTIFF."""
    series = tiff.series[0]
    if series.axes == "CYX" and (series.shape[0] != 3 or tiff.is_qpi):
        raise InputError(
            path,
            f"has {series.shape[0]} channels in pages of their own, as of fluorescence; an 8-bit "
            "RGB slide is needed",
        )


def _scanned_area(properties: Mapping[str, str], canvas: tuple[int, int]) -> tuple[int, ...]:
    """x, y, width and height in px of level 0; the canvas where not all of them are told."""
    sides = ("x", "y", "width", "height")
    found = [properties.get(f"openslide.bounds-{side}") for side in sides]
    told = tuple(int(each) for each in found if each is not None)
    return told if len(told) == len(sides) else (0, 0, *canvas)


def _scaled(
    size: Sequence[int], canvas: tuple[int, int], level: tuple[int, int]
) -> tuple[int, int]:
    """Width and height of an area of the canvas, on a level to which the canvas is made small."""
    width, height = (
        max(1, round(side * small / whole))
        for side, small, whole in zip(size, level, canvas, strict=True)
    )
    return width, height
