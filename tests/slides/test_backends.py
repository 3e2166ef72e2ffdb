"""Which library opens a file, the scanned area of OpenSlide, images that are decoded at once."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from selfsam_d2.errors import InputError
from selfsam_d2.slides import backends, reader
from selfsam_d2.slides.backends import MappedTiff, OpenSlideFile, TiffSlideFile, open_slide
from selfsam_d2.slides.decoded_image import DecodedImage
from tests.slides.dicom import dicom_slide

STEP = 4  # between the levels of the stub
CANVAS = np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8)
BOUNDS = {"x": "40", "y": "20", "width": "200", "height": "120"}


@pytest.fixture
def openslide(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Properties of a slide that a stub of OpenSlide reads from ``CANVAS``."""
    properties: dict[str, str] = {}
    levels = (CANVAS, CANVAS[::STEP, ::STEP])

    class Stub:
        def __init__(self, path: Path) -> None:
            self.properties = properties
            self.level_dimensions = [(level.shape[1], level.shape[0]) for level in levels]
            self.level_downsamples = [1.0, float(STEP)]

        def read_region(self, place: Any, level: int, size: Any) -> Image.Image:
            x, y = (each // (1, STEP)[level] for each in place)
            inside = levels[level][y : y + size[1], x : x + size[0]]
            pixels = np.zeros((size[1], size[0], 4), dtype=np.uint8)
            pixels[: inside.shape[0], : inside.shape[1]] = np.insert(inside, 3, 255, axis=2)
            return Image.fromarray(pixels)

        def close(self) -> None: ...

    names = {f"PROPERTY_NAME_MPP_{axis}": f"openslide.mpp-{axis.lower()}" for axis in "XY"}
    module = SimpleNamespace(OpenSlide=Stub, OpenSlideError=RuntimeError, **names)
    monkeypatch.setitem(sys.modules, "openslide", module)
    return properties


@pytest.fixture
def mrxs(tmp_path: Path) -> Path:
    (tmp_path / "a.mrxs").write_bytes(b"")
    return tmp_path / "a.mrxs"


def test_a_slide_with_bounds_is_the_scanned_area_at_all_levels(
    openslide: dict[str, str], mrxs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    openslide.update({f"openslide.bounds-{name}": value for name, value in BOUNDS.items()})
    with open_slide(mrxs) as slide:
        assert slide.levels == ((200, 120), (50, 30))
        scanned = CANVAS[20:140, 40:240]
        np.testing.assert_array_equal(slide.read_region(0, 0, 200, 120), scanned)
        np.testing.assert_array_equal(slide.read_region(150, 90, 50, 30), scanned[90:, 150:])
        monkeypatch.setattr(reader, "BLOCK", 16)  # places of blocks, not only of the corner
        np.testing.assert_array_equal(slide.thumbnail(50), scanned[::STEP, ::STEP])


@pytest.mark.parametrize("missing", ["all", *BOUNDS])
def test_a_slide_without_all_bounds_is_the_canvas(
    missing: str, openslide: dict[str, str], mrxs: Path
) -> None:
    if missing != "all":
        found = {name: value for name, value in BOUNDS.items() if name != missing}
        openslide.update({f"openslide.bounds-{name}": value for name, value in found.items()})
    with open_slide(mrxs) as slide:
        assert slide.levels == ((400, 300), (100, 75))
        np.testing.assert_array_equal(slide.read_region(0, 0, 400, 300), CANVAS)
        np.testing.assert_array_equal(slide.thumbnail(100), CANVAS[::STEP, ::STEP])


def test_bounds_that_the_levels_do_not_divide_are_rounded(
    openslide: dict[str, str], mrxs: Path
) -> None:
    odd = {"x": "1", "y": "2", "width": "203", "height": "1"}
    openslide.update({f"openslide.bounds-{name}": value for name, value in odd.items()})
    with open_slide(mrxs) as slide:
        assert slide.levels == ((203, 1), (51, 1))


def test_the_series_of_a_dicom_file_is_known(openslide: dict[str, str], mrxs: Path) -> None:
    dicom = mrxs.rename(mrxs.with_suffix(".dcm"))
    with open_slide(dicom) as slide:
        assert slide.series is None
    openslide["dicom.SeriesInstanceUID"] = "1.2.3"
    with open_slide(dicom) as slide:
        assert slide.series == "1.2.3"


def plain_image(folder: Path, name: str) -> Path:
    path = folder / name
    if path.suffix == ".tif":
        tifffile.imwrite(path, CANVAS, photometric="rgb", compression="zlib", rowsperstrip=40)
    else:
        Image.fromarray(CANVAS).save(path, quality=100, subsampling=0)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.JPEG", "a.tif"])
def test_plain_images_are_slides_of_one_level(name: str, tmp_path: Path) -> None:
    with open_slide(plain_image(tmp_path, name)) as slide:
        assert isinstance(slide, DecodedImage)
        assert slide.levels == ((400, 300),)
        atol = 0 if name in ("a.png", "a.tif") else 12
        region = slide.read_region(100, 50, 300, 250).astype(int)
        np.testing.assert_allclose(region, CANVAS[50:, 100:], atol=atol)


def test_a_plain_image_is_decoded_once_and_not_to_know_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    whole = "selfsam_d2.slides.decoded_image.read_image"
    monkeypatch.setattr(whole, lambda path: read.append(path) or CANVAS)
    path = plain_image(tmp_path, "a.png")
    with open_slide(path) as slide:
        assert slide.size == (400, 300)
        assert read == []
        for left in (0, 200):
            slide.read_region(left, 0, 200, 300)
    assert read == [path]


def test_the_fourth_channel_is_left_out_as_of_an_image(tmp_path: Path) -> None:
    Image.fromarray(np.insert(CANVAS, 3, 0, axis=2)).save(tmp_path / "a.png")
    with open_slide(tmp_path / "a.png") as slide:
        np.testing.assert_array_equal(slide.read_region(0, 0, 400, 300), CANVAS)


def test_a_damaged_plain_image_is_one_line(tmp_path: Path) -> None:
    path = plain_image(tmp_path, "a.png")
    path.write_bytes(path.read_bytes()[:2000])
    with open_slide(path) as slide, pytest.raises(InputError, match=r"a\.png: truncated") as error:
        slide.read_region(0, 0, 10, 10)
    assert "\n" not in str(error.value)
    Image.fromarray(CANVAS[..., 0]).save(tmp_path / "grey.png")
    with pytest.raises(InputError, match=r"grey\.png: grey image"):
        open_slide(tmp_path / "grey.png")


def test_strips_that_pillow_refuses_are_read_by_tiffslide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = plain_image(tmp_path, "a.tif")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with open_slide(path) as slide:
        assert isinstance(slide, TiffSlideFile)
        np.testing.assert_array_equal(slide.read_region(9, 7, 30, 20), CANVAS[7:27, 9:39])
    monkeypatch.setattr(backends, "LARGEST_PIECE", 400 * 40 - 1)
    with pytest.raises(InputError, match=r"a\.tif: is compressed in pieces of 400 x 40 px"):
        open_slide(path)


@pytest.fixture(params=[TiffSlideFile, OpenSlideFile])
def kind(request: pytest.FixtureRequest) -> type:
    if request.param is OpenSlideFile:
        pytest.importorskip("openslide")
    return request.param


def pyramid(path: Path, kind: type, side: int) -> Path:
    """Levels of 400 x 300 px in tiles of 64, and of half of it in tiles of ``side``."""
    # Below the first page the one library looks for levels, behind it the other.
    below = 1 if kind is TiffSlideFile else 0
    options = {"photometric": "rgb", "compression": "jpeg"}
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(CANVAS, tile=(64, 64), subifds=below, **options)
        tiff.write(CANVAS[::2, ::2], tile=(side, side), subfiletype=1, **options)
    return path


def test_a_large_piece_of_any_level_is_refused(
    kind: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pyramid(tmp_path / "a.tif", kind, 208)
    with kind(path) as slide:
        assert slide.levels == ((400, 300), (200, 150))
    monkeypatch.setattr(backends, "LARGEST_PIECE", 208 * 208)
    with kind(path):
        pass
    monkeypatch.setattr(backends, "LARGEST_PIECE", 208 * 208 - 1)
    with pytest.raises(InputError, match=r"a\.tif: is compressed in pieces of 208 x 208 px; save"):
        kind(path)
    with kind(pyramid(path, kind, 64)):
        pass


def test_the_levels_of_all_series_that_a_slide_is_put_together_from_are_looked_at() -> None:
    def series(*pages: int) -> SimpleNamespace:
        return SimpleNamespace(levels=[SimpleNamespace(keyframe=page) for page in pages])

    tiff = SimpleNamespace(series=[series(1), series(2, 3), series(4)])
    assert list(backends._pages({}, tiff)) == [1]
    assert list(backends._pages({"tiffslide.series-index": 2}, tiff)) == [4]
    composed = {"tiffslide.series-composition": {"located_series": {1: [], 2: []}}}
    assert list(backends._pages(composed, tiff)) == [2, 3, 4]


def test_a_slide_larger_than_any_is_refused(
    kind: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pyramid(tmp_path / "a.tif", kind, 64)
    monkeypatch.setattr(backends, "LONGEST_SIDE", 400)
    with kind(path):
        pass
    monkeypatch.setattr(backends, "LONGEST_SIDE", 399)
    with pytest.raises(InputError, match=r"a\.tif: says that it has 400 x 300 px, more than any"):
        kind(path)


def test_a_size_for_which_tiles_are_missing_is_refused(tmp_path: Path) -> None:
    path = pyramid(tmp_path / "a.tif", TiffSlideFile, 64)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        pages = [level.keyframe for level in tiff.series[0].levels]
        backends._refuse_unlisted(path, pages)
        pages[1].dataoffsets = pages[1].dataoffsets[:-1]
        line = r"a\.tif: lists 11 of the 12 tiles or strips of its 200 x 150 px; copy or export"
        with pytest.raises(InputError, match=line):
            backends._refuse_unlisted(path, pages)
        pages[0].tags["ImageLength"].overwrite(1_000_000)
    # 7 across, 15,625 down.
    with pytest.raises(InputError, match=r"a\.tif: lists 35 of the 109375 tiles or strips of its "):
        open_slide(path)


def test_tiles_of_dicom_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openslide")
    (tmp_path / "a.dcm").write_bytes(dicom_slide(CANVAS[:256, :256], 128))
    with open_slide(tmp_path / "a.dcm") as slide:
        assert slide.size == (256, 256)
    monkeypatch.setattr(backends, "LARGEST_PIECE", 128 * 128 - 1)
    with pytest.raises(InputError, match=r"a\.dcm: is compressed in pieces of 128 x 128 px"):
        open_slide(tmp_path / "a.dcm")


def test_all_ways_to_read_a_tiff_know_its_resolution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quarter of a µm in the tags of the first two, half a µm in the OME-XML of the others."""
    tags = {"photometric": "rgb", "resolution": (40_000, 40_000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(tmp_path / "a.tif", CANVAS, **tags)
    tifffile.imwrite(tmp_path / "b.tif", CANVAS, compression="zlib", **tags)
    sizes = {"axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    for name in ("c.ome.tif", "d.ome.tif"):
        tifffile.imwrite(tmp_path / name, CANVAS, tile=(64, 64), metadata=sizes, **tags)
    found = []
    for name in ("a.tif", "b.tif", "c.ome.tif", "d.ome.tif"):
        if name == "d.ome.tif":

            def fails(path: Path) -> None:
                raise OSError("tiffslide cannot")

            monkeypatch.setattr(backends, "TiffSlideFile", fails)
        with open_slide(tmp_path / name) as slide:
            found.append((type(slide), slide.microns_per_pixel))
    assert found == [
        (MappedTiff, 0.25), (DecodedImage, 0.25), (TiffSlideFile, 0.5), (OpenSlideFile, 0.5),
    ]  # fmt: skip
