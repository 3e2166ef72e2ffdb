"""The µm per px that a TIFF states, in its OME-XML or its tags."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

from defusedxml import ElementTree

from selfsam_d2.slides.reader import TIFF_SUFFIXES
from selfsam_d2.structures.image_files import DECODE_ERRORS, opened_tiff, quiet_decoders

__all__ = ["MICRONS", "mean_microns", "ome_microns_per_pixel", "tiff_microns_per_pixel"]

# What a scanner can be; a TIFF that was saved at 72 or 300 dpi tells nothing of the tissue.
MICRONS = (0.05, 10.0)
# Of a length of OME, in µm.
OME_UNITS = {"m": 1e6, "cm": 1e4, "mm": 1e3, "µm": 1.0, "μm": 1.0, "um": 1.0, "nm": 1e-3}
# Of the tag ResolutionUnit, in µm: inch and cm.
TAG_UNITS = {2: 25_400.0, 3: 10_000.0}


def tiff_microns_per_pixel(path: Path) -> float | None:
    """µm per px of the first image of a TIFF.

    Its OME-XML goes before XResolution and YResolution, which many programs fill without being
    asked.

    Args:
        path: any file; one that is no TIFF by its suffix is not opened.

    Returns:
        the mean of both axes; None where the file states none, none that can be a scanner's, or
        cannot be read.
    """
    if path.suffix.lower() not in TIFF_SUFFIXES:
        return None
    try:
        with quiet_decoders(), opened_tiff(path) as tiff:
            metadata = tiff.ome_metadata if tiff.is_ome else None
            page = tiff.pages.first
            unit = TAG_UNITS.get(page.resolutionunit)
            tags = [] if unit is None else [unit / each for each in page.resolution]
    except DECODE_ERRORS:
        return None
    return ome_microns_per_pixel(metadata) or mean_microns(tags)


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
    return mean_microns(found)


def mean_microns(found: Sequence[Any]) -> float | None:
    """Mean of both axes; None where one is missing or can be none of a scanner.

    Args:
        found: µm/px of x and y, as numbers or text; None: missing.
    """
    try:
        microns = sum(float(each) for each in found) / len(found)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return microns if MICRONS[0] <= microns <= MICRONS[1] else None
