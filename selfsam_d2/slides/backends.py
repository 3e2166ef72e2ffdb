"""The libraries that read slides: tiffslide, OpenSlide, and memory maps of plain TIFFs."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

import numpy as np
import tifffile
from defusedxml import ElementTree
from numpy.typing import NDArray

from selfsam_d2.errors import InputError
from selfsam_d2.slides.reader import LARGE, MICRONS, TIFF_SUFFIXES, Slide
from selfsam_d2.structures.image_files import (
    DECODE_ERRORS,
    opened_tiff,
    quiet_decoders,
    require_file,
)

__all__ = ["ome_microns_per_pixel", "open_slide"]

TIFFSLIDE_SUFFIXES = TIFF_SUFFIXES | {".ndpi", ".scn", ".svs"}
CANNOT_OPEN: tuple[type[Exception], ...] = (*DECODE_ERRORS, InputError)
# Of a length of OME, in µm.
OME_UNITS = {"m": 1e6, "cm": 1e4, "mm": 1e3, "µm": 1.0, "μm": 1.0, "um": 1.0, "nm": 1e-3}


class TiffSlideFile(Slide):
    """A slide that tiffslide reads: SVS, NDPI, SCN, OME-TIFF, TIFF."""

    def __init__(self, path: Path) -> None:
        tiffslide = _import("tiffslide", path, "slides")
        self.path = path
        self._slide = tiffslide.TiffSlide(path)
        properties = self._slide.properties
        self.levels = tuple(self._slide.level_dimensions)
        _refuse_whole_strips(path, properties)
        found = [properties.get(f"tiffslide.mpp-{axis}") for axis in "xy"]
        self.microns_per_pixel = (
            ome_microns_per_pixel(self._slide.ts_tifffile.ome_metadata)
            if self._slide.ts_tifffile.is_ome
            else None
        ) or _mean_microns(found)

    def _read(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[Any]:
        # It takes places in px of level 0 and rounds them down to the level's.
        factor = self._slide.level_downsamples[level]
        place = (math.ceil(x * factor), math.ceil(y * factor))
        pixels = self._slide.read_region(place, level, (width, height), as_array=True)
        return np.asarray(pixels)

    def close(self) -> None:
        self._slide.close()


class OpenSlideFile(Slide):
    """A slide that OpenSlide reads: MRXS, DICOM, BIF, VMS ..."""

    def __init__(self, path: Path) -> None:
        openslide = _import("openslide", path, "openslide")
        self.path = path
        self._error = openslide.OpenSlideError
        try:
            self._slide = openslide.OpenSlide(path)
        except openslide.OpenSlideError as error:
            raise OSError(str(error)) from error
        self.levels = tuple(self._slide.level_dimensions)
        names = (openslide.PROPERTY_NAME_MPP_X, openslide.PROPERTY_NAME_MPP_Y)
        self.microns_per_pixel = _mean_microns([self._slide.properties.get(each) for each in names])

    def _read(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[Any]:
        factor = self._slide.level_downsamples[level]
        place = (round(x * factor), round(y * factor))
        try:
            return np.asarray(self._slide.read_region(place, level, (width, height)))
        except self._error as error:
            raise OSError(str(error)) from error

    def close(self) -> None:
        self._slide.close()


class MappedTiff(Slide):
    """A TIFF that lies in the file as it is, without compression: any part is read at once."""

    def __init__(self, path: Path, microns_per_pixel: float | None) -> None:
        self.path = path
        self._pixels = tifffile.memmap(path, mode="r")
        self.levels = ((self._pixels.shape[1], self._pixels.shape[0]),)
        self.microns_per_pixel = microns_per_pixel

    def _read(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[Any]:
        del level
        return np.asarray(self._pixels[y : y + height, x : x + width])

    def close(self) -> None:
        del self._pixels


def open_slide(path: str | Path) -> Slide:
    """Open a slide; to be closed, or used in a ``with`` statement.

    Args:
        path: SVS, NDPI, SCN, OME-TIFF or TIFF for tiffslide; what that cannot read, and any other
            format, for OpenSlide.

    Raises:
        InputError: no such file, no slide that can be read, or the library is not installed.
    """
    path = Path(path)
    require_file(path)
    try:
        with quiet_decoders():
            if path.suffix.lower() not in TIFFSLIDE_SUFFIXES:
                return OpenSlideFile(path)
            mapped = _mapped(path)
            return mapped or TiffSlideFile(path)
    except DECODE_ERRORS as error:
        other = _with_openslide(path)
        if other is not None:
            return other
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            path, f"damaged or not a slide that can be read ({reason}); copy or export it again"
        ) from error


def _mapped(path: Path) -> MappedTiff | None:
    if path.suffix.lower() not in TIFF_SUFFIXES:
        return None
    with opened_tiff(path) as tiff:
        series = tiff.series[0]
        whole = series.axes == "YXS" and len(series.levels) == 1 and series.keyframe.is_memmappable
        if not whole:
            return None
        metadata = tiff.ome_metadata if tiff.is_ome else None
    return MappedTiff(path, ome_microns_per_pixel(metadata))


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
            path, f"needs the extra `{extra}`: python -m pip install 'selfsam_d2[{extra}]'"
        ) from error


def _refuse_whole_strips(path: Path, properties: Any) -> None:
    """A compressed image in one piece would be decoded as a whole for each region."""
    piece = [int(properties[f"tiffslide.level[0].tile-{side}"]) for side in ("width", "height")]
    if piece[0] * piece[1] > LARGE:
        raise InputError(
            path,
            f"is compressed in pieces of {piece[0]} x {piece[1]} px; save it as a tiled TIFF, as "
            "QuPath and `vips tiffsave --tile` do",
        )


def _mean_microns(found: list[Any]) -> float | None:
    """Mean of both axes; None where one is missing or can be none of a scanner."""
    try:
        microns = sum(float(each) for each in found) / len(found)
    except (TypeError, ValueError):
        return None
    return microns if MICRONS[0] <= microns <= MICRONS[1] else None


def ome_microns_per_pixel(metadata: str | None) -> float | None:
    """µm per px of the first image of an OME-XML, None where it does not say it.

    Args:
        metadata: the XML; external entities are not read.
    """
    if metadata is None:
        return None
    try:
        root = ElementTree.fromstring(metadata)
    except (ParseError, ValueError):  # those of defusedxml are ValueErrors
        return None
    pixels = root.find("{*}Image/{*}Pixels")
    if pixels is None:
        return None
    found: list[Any] = []
    for axis in "XY":
        value = pixels.get(f"PhysicalSize{axis}")
        factor = OME_UNITS.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        if value is None or factor is None:
            return None
        try:
            found.append(float(value) * factor)
        except ValueError:
            return None
    return _mean_microns(found)
