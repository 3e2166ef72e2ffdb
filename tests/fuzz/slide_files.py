"""Slides as their scanners write them, small."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from selfsam_d2.slides.backends import open_slide
from tests.fuzz.reader import Reader
from tests.slides.dicom import dicom_slide
from tests.slides.ndpi import NdpiWriter
from tests.slides.svs import write_svs

SIDE = 16
IMAGE = np.random.default_rng(0).integers(0, 256, (2 * SIDE, 3 * SIDE, 3), dtype=np.uint8)


def read_slide(path: Path) -> None:
    """A region of level 0, and the slide made small."""
    with open_slide(path) as slide:
        slide.read_region(0, 0, *(min(SIDE, side) for side in slide.size))
        slide.thumbnail(SIDE)


def _svs() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return write_svs(Path(folder) / "a.svs", IMAGE, side=SIDE).read_bytes()


def _ndpi() -> bytes:
    writer = NdpiWriter()
    for step in (1, 4):
        writer.page(np.ascontiguousarray(IMAGE[::step, ::step]), 40 / step)
    return bytes(writer.content)


SLIDE_FILES = {
    "SVS": Reader("a.svs", _svs(), read_slide),
    "NDPI": Reader("a.ndpi", _ndpi(), read_slide),
    "DICOM": Reader("a.dcm", dicom_slide(IMAGE, SIDE), read_slide),
}
