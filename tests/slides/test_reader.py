"""Regions, thumbnails and resolutions of slides, against the array that the files were made of."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from selfsam_d2.errors import InputError
from selfsam_d2.slides import reader
from selfsam_d2.slides.backends import MappedTiff, OpenSlideFile, TiffSlideFile, open_slide
from selfsam_d2.slides.reader import as_rgb, is_slide

PIXELS = np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8)
OPTIONS: dict[str, Any] = {"tile": (64, 64), "photometric": "rgb"}
OME = {"axes": "YXS", "PhysicalSizeX": 250, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.25}


def write_ome(path: Path) -> Path:
    with tifffile.TiffWriter(path, ome=True) as tiff:
        tiff.write(PIXELS, subifds=1, metadata=OME, **OPTIONS)
        tiff.write(PIXELS[::4, ::4], subfiletype=1, **OPTIONS)
    return path


@pytest.fixture
def slides(tmp_path: Path, svs: Any) -> dict[str, Path]:
    plain = tmp_path / "c.tif"
    tifffile.imwrite(plain, PIXELS, photometric="rgb")
    tiled = tmp_path / "d.tif"
    tifffile.imwrite(tiled, PIXELS, compression="zlib", **OPTIONS)
    return {
        "svs": svs(tmp_path / "a.svs", PIXELS, 0.252),
        "ome": write_ome(tmp_path / "b.ome.tif"),
        "plain": plain,
        "tiled": tiled,
    }


def test_regions_are_those_of_the_array(slides: dict[str, Path]) -> None:
    microns = {}
    for name, path in slides.items():
        with open_slide(path) as slide:
            assert slide.size == (400, 300)
            np.testing.assert_array_equal(slide.read_region(100, 50, 300, 250), PIXELS[50:, 100:])
            np.testing.assert_array_equal(slide.read_region(7, 9, 5, 3), PIXELS[9:12, 7:12])
            microns[name] = slide.microns_per_pixel
            assert isinstance(slide, MappedTiff) == (name == "plain")
    assert microns == {"svs": 0.252, "ome": 0.25, "plain": None, "tiled": None}


def test_thumbnails_are_means_over_areas(slides: dict[str, Path], monkeypatch: Any) -> None:
    monkeypatch.setattr(reader, "BLOCK", 64)
    expected = cv2.resize(PIXELS, (200, 150), interpolation=cv2.INTER_AREA)
    for path in slides.values():
        with open_slide(path) as slide:
            assert slide.thumbnail(1000).shape == PIXELS.shape
            np.testing.assert_allclose(slide.thumbnail(200).astype(float), expected, atol=1)
    with open_slide(slides["svs"]) as slide:
        # From the level of a quarter, whose pixels are every fourth.
        np.testing.assert_array_equal(slide.thumbnail(100), PIXELS[::4, ::4])
        expected = cv2.resize(PIXELS[::4, ::4], (20, 15), interpolation=cv2.INTER_AREA)
        np.testing.assert_allclose(slide.thumbnail(20).astype(float), expected, atol=1)


def test_blocks_whose_edges_lie_within_pixels_make_no_seam(
    slides: dict[str, Path], monkeypatch: Any
) -> None:
    with open_slide(slides["plain"]) as slide:
        at_once = slide.thumbnail(130)
        monkeypatch.setattr(reader, "BLOCK", 64)
        in_blocks = slide.thumbnail(130)
    assert at_once.shape == (98, 130, 3)
    assert (at_once == in_blocks).mean() > 0.99


def test_what_is_transparent_is_white() -> None:
    pixels = np.dstack([PIXELS[:2, :3], np.full((2, 3), 255, np.uint8)])
    np.testing.assert_array_equal(as_rgb(Path("a"), pixels), pixels[..., :3])
    pixels[0, 0] = (10, 20, 30, 0)
    pixels[0, 1] = (100, 200, 0, 51)
    assert as_rgb(Path("a"), pixels)[0, :2].tolist() == [[255] * 3, [224, 244, 204]]
    for bad in (pixels.astype(np.uint16), pixels[..., 0], pixels[..., :2]):
        with pytest.raises(InputError, match=r"^a\.svs: .*8-bit RGB slide is needed"):
            as_rgb(Path("a.svs"), bad)


def test_which_files_are_slides(slides: dict[str, Path], monkeypatch: Any, tmp_path: Path) -> None:
    assert is_slide(Path("no_such.NDPI"))
    assert not is_slide(Path("a.png"))
    Image.fromarray(PIXELS).save(tmp_path / "e.png")
    Image.fromarray(PIXELS).save(tmp_path / "f.jpg")
    paths = [*slides.values(), tmp_path / "e.png", tmp_path / "f.jpg"]
    assert [is_slide(path) for path in paths] == [True] + 5 * [False]
    monkeypatch.setattr(reader, "LARGE", 300 * 400)
    assert [is_slide(path) for path in paths] == [True] + 5 * [False]
    monkeypatch.setattr(reader, "LARGE", 300 * 400 - 1)
    assert [is_slide(path) for path in paths] == 6 * [True]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # Pillow refuses, which is then said
    assert not is_slide(tmp_path / "e.png")
    (tmp_path / "broken.tif").write_bytes(b"II*\0none")
    assert not is_slide(tmp_path / "broken.tif")


@pytest.mark.parametrize("name", ["a.svs", "a.tif", "a.mrxs"])
def test_a_damaged_slide_is_one_line(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"II*\0 no slide at all")
    with pytest.raises(InputError, match=rf"{name}: damaged or not a slide") as error:
        open_slide(tmp_path / name)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="no such file"):
        open_slide(tmp_path / f"no_{name}")


def test_a_slide_whose_pixels_are_cut_off_is_one_line(slides: dict[str, Path]) -> None:
    content = slides["svs"].read_bytes()
    with open_slide(slides["svs"]) as slide:
        slides["svs"].write_bytes(content[: len(content) // 3])
        with pytest.raises(InputError, match=r"a\.svs: cannot be decoded at x 0, y 150"):
            slide.read_region(0, 150, 300, 100)


def test_memory_that_runs_out_is_not_called_damage_alone(
    slides: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise MemoryError

    problem = r"^\S+a\.svs: needs more memory than there is, or its header is damaged"
    with open_slide(slides["svs"]) as slide:
        monkeypatch.setattr(TiffSlideFile, "_read", fails)
        with pytest.raises(InputError, match=problem):
            slide.read_region(0, 0, 10, 10)
    for library in (TiffSlideFile, OpenSlideFile):
        monkeypatch.setattr(library, "__init__", fails)
    with pytest.raises(InputError, match=problem):
        open_slide(slides["svs"])


@pytest.mark.parametrize(
    ("module", "name", "extra"),
    [("tiffslide", "a.svs", "slides"), ("openslide", "a.mrxs", "openslide")],
)
def test_a_missing_library_names_the_extra(
    module: str, name: str, extra: str, tmp_path: Path, monkeypatch: Any
) -> None:
    (tmp_path / name).write_bytes(b"")
    for each in ("tiffslide", "openslide"):
        monkeypatch.setitem(sys.modules, each, None)
    with pytest.raises(InputError, match=rf"extra `{extra}`: .*'\.\[{extra}\]'"):
        open_slide(tmp_path / name)


def test_openslide_reads_the_same(slides: dict[str, Path], tmp_path: Path) -> None:
    path = slides["svs"].rename(tmp_path / "a.svslide")  # a suffix that tiffslide is not asked for
    with open_slide(path) as slide:
        assert slide.size == (400, 300)
        assert slide.microns_per_pixel == 0.252
        np.testing.assert_array_equal(slide.read_region(100, 50, 30, 20), PIXELS[50:70, 100:130])
        np.testing.assert_array_equal(slide.thumbnail(100), PIXELS[::4, ::4])
