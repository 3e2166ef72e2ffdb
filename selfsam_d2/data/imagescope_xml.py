"""Nuclei outlines in the XML of Aperio ImageScope (MoNuSeg), and their label map."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import numpy as np
import numpy.typing as npt
from defusedxml import ElementTree
from skimage.draw import polygon as polygon_pixels

from selfsam_d2.errors import InputError, first_words, shortened
from selfsam_d2.structures.image_files import MAX_TEXT, files_by_stem, require_file

__all__ = ["PolygonMap", "find_imagescope_xml", "rasterise_polygons", "read_imagescope_polygons"]

_MIN_VERTICES = 3


@dataclass(frozen=True)
class PolygonMap:
    """A label map made from outlines, and what was lost on the way."""

    label_map: npt.NDArray[np.int32]
    """(H, W), 0 = background, k = the k-th outline (ids of lost outlines are gaps)."""
    overlap_pixels: int
    """Pixels in more than one outline, each counted once; the first outline keeps them."""
    lost_outlines: int
    """Outlines without a pixel of their own."""


def find_imagescope_xml(folder: str | Path) -> dict[str, Path]:
    """The XML files of a folder by file stem.

    Raises:
        InputError: no such folder or no XML file in it.
    """
    return files_by_stem(folder, {".xml"}, "annotation XML")


def read_imagescope_polygons(path: str | Path) -> list[npt.NDArray[np.float64]]:
    """Read the outlines: Annotation / Regions / Region / Vertices / Vertex with ``X`` and ``Y``.

    Args:
        path: XML file as ImageScope writes it.

    Returns:
        One (V, 2) float64 array of (x, y) in continuous pixel coordinates per region, in the
        order of the file. Regions of fewer than three vertices (stray clicks) keep their place.

    Raises:
        InputError: file missing, not XML, not of ImageScope, or a vertex without coordinates.
    """
    path = Path(path)
    require_file(path, MAX_TEXT)
    try:
        root = ElementTree.parse(path).getroot()
    except (ParseError, ValueError, LookupError, OSError) as error:  # LookupError: encoding
        raise InputError(path, f"is not XML that can be read ({first_words(error)})") from error
    if root is None or root.tag != "Annotations":
        raise InputError(path, 'is not ImageScope XML: its root must be "Annotations"')
    return [_vertices(path, region) for region in root.iterfind("Annotation/Regions/Region")]


def rasterise_polygons(
    polygons: list[npt.NDArray[np.float64]], shape: tuple[int, int]
) -> PolygonMap:
    """Turn outlines into a label map: a pixel is inside if its centre is; the first outline wins.

    Args:
        polygons: (V, 2) arrays of (x, y) in continuous pixel coordinates.
        shape: (H, W) of the image; what is outside of it is cut off.

    Returns:
        The label map and the counts of lost pixels and outlines.
    """
    label_map = np.zeros(shape, dtype=np.int32)
    shared = np.zeros(shape, dtype=np.bool_)
    lost_outlines = 0
    for number, vertices in enumerate(polygons, start=1):
        if len(vertices) < _MIN_VERTICES:
            lost_outlines += 1
            continue
        # scikit-image puts pixel centres at whole numbers.
        rows, columns = polygon_pixels(vertices[:, 1] - 0.5, vertices[:, 0] - 0.5, shape)
        free = label_map[rows, columns] == 0
        label_map[rows[free], columns[free]] = number
        shared[rows[~free], columns[~free]] = True
        lost_outlines += int(not free.any())
    return PolygonMap(label_map, int(shared.sum()), lost_outlines)


def _vertices(path: Path, region: Element) -> npt.NDArray[np.float64]:
    vertices: list[tuple[float, float]] = []
    for vertex in region.iterfind("Vertices/Vertex"):
        try:
            x, y = float(vertex.attrib["X"]), float(vertex.attrib["Y"])
        except (KeyError, ValueError):
            x = y = math.nan
        if not (math.isfinite(x) and math.isfinite(y)):
            name = region.get("Id", "without Id")
            raise InputError(path, f"region {shortened(name)} has a vertex without numbers X and Y")
        vertices.append((x, y))
    return np.array(vertices, dtype=np.float64).reshape(-1, 2)
