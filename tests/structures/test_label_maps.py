"""Reading of label maps, good and bad ones."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from selfsam_d2.errors import InputError
from selfsam_d2.structures.label_maps import find_label_maps, read_label_map

LABELS = np.array([[0, 0, 3, 3], [200, 0, 0, 3], [200, 200, 0, 0]])


def write(path, array):
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".png":
        Image.fromarray(array).save(path)
    else:
        tifffile.imwrite(path, array)
    return path


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.png", np.uint8),
        ("a.png", np.uint16),
        *[("a.tif", kind) for kind in (np.uint8, np.int16, np.uint16, np.int32, np.uint32)],
        *[("a.TIFF", kind) for kind in (np.int64, np.uint64, np.float32)],
        *[("a.npy", kind) for kind in (np.uint8, np.int16, np.int64, np.uint64, np.float64)],
    ],
)
def test_all_types_give_the_same_map(tmp_path, name, kind):
    ids = read_label_map(write(tmp_path / name, LABELS.astype(kind)))
    assert ids.dtype == np.int64
    np.testing.assert_array_equal(ids, LABELS)


@pytest.mark.parametrize("compression", ["zlib", "tiff_lzw"])
def test_compressed_tiff(tmp_path, compression):
    path = tmp_path / "a.tif"
    if compression == "zlib":
        tifffile.imwrite(path, LABELS.astype(np.uint16), compression="zlib")
    else:
        Image.fromarray(LABELS.astype(np.uint16)).save(path, compression=compression)
    np.testing.assert_array_equal(read_label_map(path), LABELS)


def test_palette_boolean_and_single_channel_files(tmp_path):
    palette = Image.fromarray(LABELS.astype(np.uint8), mode="L").convert("P")
    palette.putpalette(list(range(255, -1, -1)) * 3)
    palette.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read_label_map(tmp_path / "palette.png"), LABELS)
    one_bit = write(tmp_path / "bits.png", LABELS > 0)
    np.testing.assert_array_equal(read_label_map(one_bit), LABELS > 0)
    for shape in ((1, 3, 4), (3, 4, 1)):
        path = write(tmp_path / "one.npy", LABELS.reshape(shape))
        np.testing.assert_array_equal(read_label_map(path), LABELS)


def test_a_map_of_one_row_stays_one(tmp_path):
    assert read_label_map(write(tmp_path / "a.npy", LABELS[:1])).shape == (1, 4)


def test_large_ids_are_kept(tmp_path):
    ids = read_label_map(write(tmp_path / "a.npy", LABELS + 2**40))
    assert ids.dtype == np.int64
    np.testing.assert_array_equal(ids, LABELS + 2**40)


@pytest.mark.parametrize(
    ("name", "array", "problem"),
    [
        ("a.png", np.zeros((4, 5, 3), np.uint8), "colour mode RGB"),
        ("a.png", np.zeros((4, 5, 4), np.uint8), "colour mode RGBA"),
        ("a.tif", np.zeros((4, 5, 3), np.uint8), "has shape (4, 5, 3)"),
        ("a.npy", np.zeros((4, 5, 4), np.uint8), "has shape (4, 5, 4)"),
        ("a.npy", np.zeros((2, 4, 5), np.uint8), "has shape (2, 4, 5)"),
        ("a.npy", np.zeros(5, np.uint8), "has shape (5,)"),
        ("a.npy", np.zeros((0, 5), np.uint8), "has shape (0, 5)"),
        ("a.npy", LABELS - 1, "negative id -1"),
        ("a.tif", LABELS.astype(np.int16) - 5, "negative id -5"),
        ("a.npy", LABELS + 0.5, "holds fractions"),
        ("a.tif", (LABELS / 7).astype(np.float32), "holds fractions"),
        ("a.npy", np.full((2, 2), np.nan), "holds fractions"),
        ("a.npy", np.full((2, 2), np.inf), "holds fractions"),
        ("a.npy", np.full((2, 2), 2**64 - 1, np.uint64), "too large for 64 bits"),
        ("a.npy", np.full((2, 2), 1e30), "too large for 64 bits"),
        ("a.npy", np.full((2, 2), 1 + 2j), "has type complex128"),
        ("a.npy", np.array([[{}]], dtype=object), "truncated, damaged or not a label map"),
    ],
)
def test_arrays_that_are_no_label_map(tmp_path, name, array, problem):
    path = write(tmp_path / name, array)
    with pytest.raises(InputError) as caught:
        read_label_map(path)
    assert problem in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.npy"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.9])
def test_truncated_files(tmp_path, name, share):
    noise = np.random.default_rng(0).integers(0, 9000, (60, 60)).astype(np.uint16)
    path = write(tmp_path / name, noise)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match="truncated, damaged or not a label map"):
        read_label_map(path)


def test_a_header_may_ask_for_more_than_the_file_holds(tmp_path):
    path = write(tmp_path / "a.npy", np.zeros((10, 10)))
    content = path.read_bytes()
    path.write_bytes(content.replace(b"(10, 10), }" + b" " * 12, b"(10000000000000, 10), }"))
    assert len(path.read_bytes()) == len(content)
    with pytest.raises(InputError, match=r"a\.npy: truncated, damaged or not a label map"):
        read_label_map(path)


def test_memory_that_tifffile_lacks_is_not_asked_of_pillow(tmp_path, monkeypatch):
    path = write(tmp_path / "a.tif", LABELS.astype(np.uint8))

    def fails(*_, **__):
        raise MemoryError

    monkeypatch.setattr(tifffile.TiffFile, "asarray", fails)
    with pytest.raises(InputError, match=r"a\.tif: needs more memory than there is"):
        read_label_map(path)


def test_missing_and_unknown_files(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_label_map(tmp_path / "a.png")
    (tmp_path / "a.jpg").touch()
    with pytest.raises(InputError, match=r"a label map is a PNG, TIFF, \.npy or \.mat file"):
        read_label_map(tmp_path / "a.jpg")


def test_find_label_maps(tmp_path):
    for name in ("b.PNG", "a.tif", "c.npy", "notes.txt", ".hidden.png", "d.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "folder").mkdir()
    found = find_label_maps(tmp_path)
    assert found == {"a": tmp_path / "a.tif", "b": tmp_path / "b.PNG", "c": tmp_path / "c.npy"}
    assert list(found) == ["a", "b", "c"]


def test_find_label_maps_errors(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        find_label_maps(tmp_path / "missing")
    with pytest.raises(InputError, match="no label map in this folder"):
        find_label_maps(tmp_path)
    (tmp_path / "a.png").touch()
    (tmp_path / "a.npy").touch()
    with pytest.raises(InputError, match=r"a\.png: same name as a\.npy"):
        find_label_maps(tmp_path)


def test_a_page_that_is_its_own_next_one_is_no_endless_file(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((4, 4), np.int32))
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        # Behind its tags a page has the place of the next one, 0 for none.
        end = page.offset + 2 + 12 * len(page.tags)
    content = bytearray(path.read_bytes())
    assert content[end : end + 4] == bytes(4)
    content[end : end + 4] = page.offset.to_bytes(4, "little")
    path.write_bytes(content)
    assert (read_label_map(path) == 1).all()


def too_large(path):
    with pytest.raises(InputError, match="more than 178 million pixels; cut it into tiles"):
        read_label_map(path)


def test_an_array_of_too_many_pixels_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((1, 1), np.uint8))
    head = path.read_bytes()[:-1].replace(b"(1, 1), }" + b" " * 8, b"(10000, 20000), }")
    path.write_bytes(head)
    with path.open("ab") as file:
        file.truncate(len(head) + 10000 * 20000)  # takes no room on the disk
    monkeypatch.setattr(np, "array", lambda *_, **__: pytest.fail("read"))
    too_large(path)


@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_a_tiff_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, monkeypatch, tile):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((16, 16), np.uint8), tile=tile, compression="zlib")
    monkeypatch.setattr(tifffile.TiffFile, "asarray", lambda *_, **__: pytest.fail("decoded"))
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        for name in ("ImageWidth", "ImageLength"):
            tiff.pages[0].tags[name].overwrite(20_000)
    too_large(path)


def test_a_tiff_of_tiles_that_are_too_large_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((16, 16), np.uint8), tile=(16, 16), compression="zlib")
    monkeypatch.setattr(tifffile.TiffFile, "asarray", lambda *_, **__: pytest.fail("decoded"))
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        for name in ("TileWidth", "TileLength"):
            tiff.pages[0].tags[name].overwrite(20_000)
    too_large(path)


def test_a_png_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path):
    path = write(tmp_path / "a.png", LABELS.astype(np.uint8))
    content = path.read_bytes()
    header = b"IHDR" + struct.pack(">II", 20_000, 20_000) + content[24:29]
    path.write_bytes(content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:])
    too_large(path)
