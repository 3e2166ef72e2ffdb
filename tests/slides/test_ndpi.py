"""An NDPI: who reads it, its levels and resolution."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from selfsam_d2.prediction.sources import find_sources
from selfsam_d2.slides.backends import TiffSlideFile, open_slide
from selfsam_d2.slides.reader import is_slide
from tests.slides.ndpi import MICRONS, NdpiWriter


@pytest.fixture
def image(planted: Any) -> Any:
    return planted(384, 256, [(40, 40), (200, 100), (330, 220)], radius=20)


@pytest.fixture
def ndpi(tmp_path: Path, image: Any) -> Path:
    writer = NdpiWriter()
    for step in (1, 4):
        writer.page(np.ascontiguousarray(image[::step, ::step]), 40 / step)
    writer.page(np.full((64, 128, 3), 90, np.uint8), -1)  # the label side of the glass
    (tmp_path / "a.ndpi").write_bytes(writer.content)
    return tmp_path / "a.ndpi"


def test_an_ndpi_is_read_by_tiffslide_with_its_levels_and_resolution(
    ndpi: Path, image: Any
) -> None:
    with tifffile.TiffFile(ndpi) as tiff:
        assert tiff.is_ndpi
        assert len(tiff.pages) == 3
    assert is_slide(ndpi)
    with open_slide(ndpi) as slide:
        assert isinstance(slide, TiffSlideFile)
        assert slide.levels == ((384, 256), (96, 64))
        assert slide.microns_per_pixel == pytest.approx(MICRONS)
        region = slide.read_region(30, 20, 300, 200).astype(int)
        assert np.abs(region - image[20:220, 30:330]).mean() < 3
        small = slide.thumbnail(96).astype(int)
        assert np.abs(small - image[::4, ::4]).mean() < 3


def test_an_ndpi_in_a_folder_is_found(ndpi: Path) -> None:
    (source,) = find_sources([str(ndpi.parent)])
    assert source.path == ndpi
    assert source.shared
