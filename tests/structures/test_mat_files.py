"""Instance maps of ``.mat`` files that SciPy wrote, and files that hold none."""

from __future__ import annotations

import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import sparse
from scipy.io import savemat

from selfsam_d2.errors import InputError
from selfsam_d2.structures import mat_files
from selfsam_d2.structures.label_maps import find_label_maps, read_label_map

LABELS = np.array([[0, 0, 3, 3], [200, 0, 0, 3], [200, 200, 0, 0]])
INTEGERS = (np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64)
# As CoNSeP has them beside the map, and what MATLAB puts into files besides.
OTHERS = {
    "type_map": LABELS.astype(np.float64),
    "inst_type": np.ones((2, 1)),
    "inst_centroid": np.array([[1.5, 2.0], [0.5, 0.5]]),
    "inst_map_of_another": np.ones((3, 4)),
    "note": "text",
    "nothing": np.zeros((0, 0)),
    "cell": np.array([1, "a"], dtype=object),
    "no_cell": np.zeros((0, 0), dtype=object),
    "struct": {"inst_map": np.ones((3, 4))},
}


@st.composite
def label_maps(draw):
    kind = draw(st.sampled_from((*INTEGERS, np.float32, np.float64)))
    shape = (draw(st.integers(1, 6)), draw(st.integers(1, 6)))
    largest = 2**24 if np.dtype(kind).kind == "f" else int(np.iinfo(kind).max)
    ids = draw(arrays.arrays(np.int64, shape, elements=st.integers(0, largest)))
    return ids.astype(kind)


@given(
    ids=label_maps(),
    compressed=st.booleans(),
    before=st.lists(st.sampled_from(sorted(OTHERS)), max_size=3, unique=True),
    order=st.sampled_from("CF"),
)
def test_what_is_saved_comes_back(tmp_path_factory, ids, compressed, before, order):
    path = tmp_path_factory.getbasetemp() / "round_trip.mat"
    others = {name: OTHERS[name] for name in before}
    savemat(
        path,
        {**others, "inst_map": np.asarray(ids, order=order), "last": LABELS},
        do_compression=compressed,
    )
    read = read_label_map(path)
    assert read.dtype == np.int64
    np.testing.assert_array_equal(read, ids.astype(np.int64))


def test_big_endian_file(tmp_path):
    """As MATLAB wrote on other machines: header, then one uncompressed array of doubles."""
    name, values = b"inst_map", LABELS.T.astype(">f8").tobytes()
    numbers = np.array([6, 8, 6, 0, 5, 8, *LABELS.shape, 1, len(name)], dtype=">u4").tobytes()
    body = numbers + name + np.array([9, len(values)], dtype=">u4").tobytes() + values
    tag = np.array([14, len(body)], dtype=">u4").tobytes()
    path = tmp_path / "a.mat"
    path.write_bytes(b"MATLAB 5.0".ljust(124) + b"\x01\x00MI" + tag + body)
    np.testing.assert_array_equal(read_label_map(path), LABELS)


def test_the_folder_of_labels_is_found(tmp_path):
    for name in ("image_00.mat", "image_01.MAT", "notes.txt"):
        savemat(tmp_path / name, {"inst_map": LABELS}, appendmat=False)
    found = find_label_maps(tmp_path)
    assert list(found) == ["image_00", "image_01"]
    np.testing.assert_array_equal(read_label_map(found["image_01"]), LABELS)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (LABELS + 1j, "is not an array of real numbers"),
        (sparse.csc_matrix(LABELS.astype(float)), "is not an array of real numbers"),
        (LABELS.astype(object), "is not an array of real numbers"),
        ({"map": LABELS}, "is not an array of real numbers"),
        ("text", "is not an array of real numbers"),
        (np.stack([LABELS, LABELS]), "has shape (2, 3, 4)"),
        (np.zeros((0, 0)), "has shape (0, 0)"),
        (LABELS - 1, "negative id -1"),
        (LABELS + 0.5, "holds fractions"),
    ],
)
@pytest.mark.parametrize("compressed", [False, True])
def test_variables_that_are_no_instance_map(tmp_path, value, problem, compressed):
    path = tmp_path / "a.mat"
    savemat(path, {"inst_map": value}, do_compression=compressed)
    with pytest.raises(InputError) as caught:
        read_label_map(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert problem in str(caught.value)


def refusal(path):
    with pytest.raises(InputError) as caught:
        read_label_map(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_without_the_map(tmp_path):
    path = tmp_path / "a.mat"
    savemat(path, OTHERS)
    assert "has no variable inst_map" in refusal(path)


def test_files_of_other_versions(tmp_path):
    path = tmp_path / "a.mat"
    savemat(path, {"inst_map": LABELS.astype(float)}, format="4")
    assert "no MATLAB file of version 5 to 7.2" in refusal(path)
    signature = b"\x89HDF\r\n\x1a\n"
    for head in (b"", b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM".ljust(388, b"\0")):
        path.write_bytes(head + signature + bytes(2000))
        assert "MATLAB 7.3 (HDF5)" in refusal(path)
        assert "save -v7" in refusal(path)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.9, 0.999])
def test_truncated_files(tmp_path, compressed, share):
    noise = np.random.default_rng(0).integers(0, 9000, (60, 60))
    path = tmp_path / "a.mat"
    savemat(path, {"inst_map": noise}, do_compression=compressed)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert "damaged" in refusal(path)
    assert share < 0.1 or "ends early" in refusal(path)


@pytest.mark.parametrize("compressed", [False, True])
def test_one_damaged_byte_ends_in_a_map_or_in_one_line(tmp_path, compressed):
    """SciPy's reader can end the process here."""
    path = tmp_path / "a.mat"
    savemat(path, {"cell": OTHERS["cell"], "inst_map": LABELS}, do_compression=compressed)
    content = path.read_bytes()
    refused = 0
    for position in range(120, len(content)):
        for value in {0x00, 0x42, 0xFF} - {content[position]}:
            path.write_bytes(content[:position] + bytes([value]) + content[position + 1 :])
            try:
                read_label_map(path)
            except InputError:
                refused += 1
    assert refused > 100


def bomb(sides, values, *, before=b""):
    """A compressed variable of bytes that are 0; its shape need not be true."""
    name = b"inst_map"
    head = struct.pack("<8I", 6, 8, 9, 0, 5, 8, *sides) + struct.pack("<II", 1, len(name)) + name
    unpacked = struct.pack("<II", 14, len(head) + 8 + values) + head
    packed = zlib.compress(unpacked + struct.pack("<II", 2, values) + bytes(values), 9)
    start = b"MATLAB 5.0".ljust(124) + b"\x00\x01IM" + before
    return start + struct.pack("<II", 15, len(packed)) + packed


def test_a_map_of_too_many_pixels_is_refused_by_its_header(tmp_path, monkeypatch):
    path = tmp_path / "a.mat"
    path.write_bytes(bomb((30_000, 30_000), 8))
    monkeypatch.setattr(mat_files, "_unpacked", lambda *_: pytest.fail("unpacked"))
    assert "more than 178 million pixels" in refusal(path)


def test_no_more_is_unpacked_than_the_shape_needs(tmp_path):
    path = tmp_path / "a.mat"
    path.write_bytes(bomb((2, 4), 8))
    assert (read_label_map(path) == 0).all()
    path.write_bytes(bomb((2, 4), 50_000_000))
    tracemalloc.start()
    assert "ends early, or holds more than its shape" in refusal(path)
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_other_variables_are_not_unpacked(tmp_path):
    other = zlib.compress(
        struct.pack("<10I", 14, 32 + 10**7, 6, 8, 9, 0, 5, 8, 1, 10**7)
        + struct.pack("<II4s4xII", 1, 4, b"else", 2, 10**7)
        + bytes(10**7)
    )
    path = tmp_path / "a.mat"
    path.write_bytes(bomb((2, 4), 8, before=struct.pack("<II", 15, len(other)) + other))
    tracemalloc.start()
    assert (read_label_map(path) == 0).all()
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_a_flipped_bit_in_a_packed_map_shows(tmp_path):
    path = tmp_path / "a.mat"
    noise = np.random.default_rng(0).integers(0, 255, (60, 60)).astype(np.uint8)
    savemat(path, {"inst_map": noise}, do_compression=True)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # of the checksum
    path.write_bytes(content)
    assert "damaged" in refusal(path)
