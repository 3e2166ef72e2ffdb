"""Reading of images: what is read, and what is refused in one line."""

from __future__ import annotations

import collections
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from selfsam_d2.data.images import find_images, image_size, read_image
from selfsam_d2.errors import InputError

ROOT = Path(__file__).parents[2]
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
GREY = PIXELS[..., 0]


def save(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.png", {}),
        ("a.tif", {}),
        ("a.tif", {"compression": "tiff_lzw"}),
        ("a.TIFF", {"compression": "tiff_adobe_deflate"}),
    ],
)
def test_rgb_is_read_as_it_is(tmp_path, name, options):
    path = save(tmp_path / name, PIXELS, **options)
    pixels = read_image(path)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    np.testing.assert_array_equal(pixels, PIXELS)
    assert image_size(str(path)) == (40, 50)


def test_order_of_channels_is_red_green_blue(tmp_path):
    path = tmp_path / "a.jpg"
    Image.new("RGB", (16, 8), (250, 10, 90)).save(path, quality=100)
    assert np.abs(read_image(path).astype(int) - [250, 10, 90]).max() <= 3
    assert image_size(path) == (8, 16)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_tiff_of_another_writer(tmp_path, planar):
    path = tmp_path / "a.tif"
    pixels = PIXELS if planar == "contig" else np.moveaxis(PIXELS, -1, 0)
    tifffile.imwrite(path, pixels, photometric="rgb", planarconfig=planar, bigtiff=True)
    np.testing.assert_array_equal(read_image(path), PIXELS)


def test_fourth_channel_is_dropped_and_said_once(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("detectron2.utils.logger._LOG_COUNTER", collections.Counter())
    with_alpha = np.dstack([PIXELS, np.full_like(GREY, 7)])
    paths = [save(tmp_path / name, with_alpha) for name in ("a.png", "b.png", "c.tif")]
    with caplog.at_level(logging.INFO, logger="selfsam_d2.data.images"):
        for path in paths:
            np.testing.assert_array_equal(read_image(path), PIXELS)
    assert len(caplog.messages) == 1
    assert "a.png" in caplog.messages[0]
    assert "alpha" in caplog.messages[0]


def test_coloured_palette_is_converted(tmp_path):
    image = Image.fromarray(PIXELS).quantize(16)
    image.save(tmp_path / "a.png")
    pixels = read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(pixels, np.array(image.convert("RGB")))
    assert image_size(tmp_path / "a.png") == (40, 50)


def test_palette_without_colour_is_grey(tmp_path):
    Image.fromarray(GREY).convert("P").save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png: grey image .*8-bit RGB"):
        read_image(tmp_path / "a.png")


def write_16_bit_rgb_png(path):
    import cv2

    assert cv2.imwrite(str(path), PIXELS.astype(np.uint16) * 257)


BAD_IMAGES = {
    "grey.png": (lambda path: save(path, GREY), "grey image"),
    "bilevel.png": (lambda path: save(path, GREY > 99), "grey image"),
    "grey.jpg": (lambda path: save(path, GREY), "grey image"),
    "grey.tif": (lambda path: tifffile.imwrite(path, GREY), "grey image"),
    "grey_alpha.png": (lambda path: save(path, PIXELS[..., :2]), "grey image"),
    "deep_grey.png": (lambda path: save(path, GREY.astype(np.uint16)), "16-bit image"),
    "deep.png": (write_16_bit_rgb_png, "16-bit image"),
    "deep.tif": (lambda path: tifffile.imwrite(path, PIXELS.astype(np.uint16)), "16-bit image"),
    "deeper.tif": (lambda path: tifffile.imwrite(path, GREY.astype(np.int32)), "32-bit image"),
    "float.tif": (lambda path: tifffile.imwrite(path, GREY / np.float32(255)), "float image"),
    "cmyk.jpg": (lambda path: Image.new("CMYK", (9, 9)).save(path), "colour mode CMYK"),
    "text.png": (lambda path: path.write_text("hello"), "not an image"),
    "empty.tif": (lambda path: path.touch(), "not an image"),
    "gif.png": (lambda path: Image.fromarray(PIXELS).save(path, format="GIF"), "not an image"),
    "nothing.png": (lambda path: None, "no such file"),
    "folder.png": (lambda path: path.mkdir(), "is a folder"),
}


@pytest.mark.parametrize("name", BAD_IMAGES)
@pytest.mark.parametrize("read", [read_image, image_size])
def test_what_is_no_rgb_image_is_refused(tmp_path, name, read):
    make, problem = BAD_IMAGES[name]
    path = tmp_path / name
    make(path)
    with pytest.raises(InputError, match=problem) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.png", {}),
        ("a.jpg", {}),
        ("a.tif", {}),
        ("a.tif", {"compression": "tiff_lzw"}),
        ("a.tif", {"compression": "jpeg"}),
    ],
)
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_truncated_image(tmp_path, capfd, name, options, share):
    path = save(tmp_path / name, PIXELS, **options)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match=r"a\.\w+: (truncated or )?damaged"):
        read_image(path)
    assert capfd.readouterr().err == ""


def test_large_images_give_no_warning_and_too_large_ones_one_line(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", PIXELS)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1500)  # 2000 pixels: Pillow warns
    np.testing.assert_array_equal(read_image(path), PIXELS)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)  # more than twice as many: Pillow refuses
    with pytest.raises(InputError, match=r"a\.png: .* cut it into tiles"):
        read_image(path)


@pytest.mark.parametrize("name", ["open", "load"])
def test_too_little_memory_is_not_called_damage_alone(tmp_path, monkeypatch, name):
    path = save(tmp_path / "a.png", PIXELS)

    def fails(*_, **__):
        raise MemoryError

    monkeypatch.setattr(*((Image, "open") if name == "open" else (PngImageFile, "load")), fails)
    with pytest.raises(InputError) as caught:
        read_image(path)
    assert str(caught.value) == (
        f"{path}: needs more memory than there is, or its header is damaged; free memory, or copy "
        "or export it again"
    )


def test_stderr_has_only_our_line(tmp_path):
    """libtiff writes to the descriptor of stderr, past everything that Python can catch."""
    path = save(tmp_path / "a.tif", PIXELS, compression="tiff_lzw")
    content = path.read_bytes()
    path.write_bytes(content[:8] + bytes(2000) + content[2008:])
    program = (
        "import sys; from selfsam_d2.errors import run_command\n"
        "from selfsam_d2.data.images import read_image\n"
        "run_command(lambda: read_image(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, path],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {path}: truncated or damaged image")
    assert done.stderr.count("\n") == 1


def test_find_images(tmp_path):
    for name in ("b.PNG", "a.tif", "c.jpeg", "d.xml", "e.npy", "._a.png"):
        (tmp_path / name).touch()
    assert list(find_images(tmp_path)) == ["a", "b", "c"]
    (tmp_path / "a.png").touch()
    with pytest.raises(InputError, match=r"a\.tif: same name as a\.png"):
        find_images(tmp_path)
