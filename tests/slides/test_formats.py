"""Formats that are known by their suffix: QPTIFF of Akoya, CZI of Zeiss."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile

from selfsam_d2.errors import InputError
from selfsam_d2.prediction.sources import find_sources
from selfsam_d2.slides.backends import OpenSlideFile, TiffSlideFile, open_slide
from selfsam_d2.slides.reader import is_slide

PIXELS = np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8)
NAME = "PerkinElmer-QPI"


def write_qptiff(path: Path, pages: list[np.ndarray]) -> Path:
    """Pages of full resolution, half a µm per px, and a thumbnail in strips."""
    xml = f"<{NAME}-ImageDescription><ImageType>%s</ImageType></{NAME}-ImageDescription>"
    common = {"metadata": None, "software": NAME, "compression": "zlib"}
    unit = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path) as tiff:
        for page in pages:
            said = xml % "FullResolution"
            tiff.write(page, tile=(64, 64), description=said, **common, **unit)
        tiff.write(PIXELS[::8, ::8], description=xml % "Thumbnail", photometric="rgb", **common)
    return path


def test_a_qptiff_is_read_by_region_and_found_by_both_commands(tmp_path: Path) -> None:
    path = write_qptiff(tmp_path / "a.qptiff", [PIXELS])
    assert is_slide(path)
    with open_slide(path) as slide:
        assert isinstance(slide, TiffSlideFile)
        assert (slide.size, slide.microns_per_pixel) == ((400, 300), 0.5)
        np.testing.assert_array_equal(slide.read_region(100, 50, 300, 250), PIXELS[50:, 100:])
    (source,) = find_sources([str(tmp_path)])
    assert source.path == path


@pytest.mark.parametrize("channels", [4, 3])
def test_channels_of_fluorescence_are_no_colours(channels: int, tmp_path: Path) -> None:
    grey = [PIXELS[..., k % 3] for k in range(channels)]
    path = write_qptiff(tmp_path / "a.qptiff", grey)
    problem = rf"a\.qptiff: has {channels} channels .*8-bit RGB"
    with pytest.raises(InputError, match=problem) as error:
        open_slide(path)
    assert "\n" not in str(error.value)


def test_colours_may_lie_in_pages_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    planes = np.moveaxis(PIXELS, 2, 0)
    options = {"photometric": "minisblack", "compression": "zlib", "metadata": {"axes": "CYX"}}
    tifffile.imwrite(path, planes, tile=(64, 64), **options)
    with open_slide(path) as slide:
        np.testing.assert_array_equal(slide.read_region(7, 9, 50, 30), PIXELS[9:39, 7:57])
    tifffile.imwrite(path, planes[[0, 1, 2, 0]], tile=(64, 64), **options)
    with pytest.raises(InputError, match=r"a\.ome\.tif: has 4 channels"):
        open_slide(path)


def segment(name: str, content: bytes) -> bytes:
    """A block of a CZI file: name, room, used bytes, content."""
    padding = -len(content) % 32
    head = struct.pack("<16sqq", name.encode(), len(content) + padding, len(content))
    return head + content + bytes(padding)


def write_czi(path: Path, pixels: np.ndarray, microns: float, compression: int) -> Path:
    """One tile of 24-bit BGR, as the layout that Zeiss publishes has it."""
    height, width = pixels.shape[:2]
    scaling = "".join(
        f'<Distance Id="{axis}"><Value>{microns * 1e-6}</Value></Distance>' for axis in "XY"
    )
    sizes = f"<SizeX>{width}</SizeX><SizeY>{height}</SizeY><SizeS>1</SizeS>"
    xml = (
        f"<ImageDocument><Metadata><Information><Image>{sizes}</Image></Information><Scaling>"
        f"<Items>{scaling}</Items></Scaling></Metadata></ImageDocument>"
    ).encode()

    def file_header(*places: int) -> bytes:
        directory, metadata, attachments = places
        numbers = (1, 0, 0, 0, bytes(32), 0, directory, metadata, 0, attachments)
        return segment("ZISRAWFILE", struct.pack("<4i32siqqiq", *numbers) + bytes(432))

    start = len(file_header(0, 0, 0))
    entry = struct.pack("<2siqiib5si", b"DV", 3, start, 0, compression, 0, bytes(5), 5)
    for axis, size in (("X", width), ("Y", height), ("C", 1), ("M", 1), ("S", 1)):
        entry += struct.pack("<4siifi", axis.encode(), 0, size, 0.0, size)
    data = pixels[..., ::-1].tobytes()
    tile = struct.pack("<iiq", 0, 0, len(data)) + entry
    blocks = [
        segment("ZISRAWSUBBLOCK", tile.ljust(256, b"\0") + data),
        segment("ZISRAWDIRECTORY", struct.pack("<i124x", 1) + entry),
        segment("ZISRAWMETADATA", struct.pack("<ii248x", len(xml), 0) + xml),
        segment("ZISRAWATTDIR", struct.pack("<i252x", 0)),
    ]
    places = [start + sum(map(len, blocks[:count])) for count in (1, 2, 3)]
    path.write_bytes(file_header(*places) + b"".join(blocks))
    return path


def test_openslide_reads_czi(tmp_path: Path) -> None:
    pytest.importorskip("openslide")
    path = write_czi(tmp_path / "a.czi", PIXELS, 0.25, compression=0)
    assert is_slide(path)
    with open_slide(path) as slide:
        assert isinstance(slide, OpenSlideFile)
        assert slide.size == (400, 300)
        assert slide.microns_per_pixel == pytest.approx(0.25)
        np.testing.assert_array_equal(slide.read_region(7, 9, 50, 30), PIXELS[9:39, 7:57])


def test_a_czi_of_jpeg_xr_says_so(tmp_path: Path) -> None:
    pytest.importorskip("openslide")
    path = write_czi(tmp_path / "a.czi", PIXELS, 0.25, compression=4)
    with pytest.raises(InputError, match=r"a\.czi: .*JPEG XR compression is not supported"):
        open_slide(path)
