"""Stored base masks: packed without loss that matters, and carried through the augmentation."""

import resource
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selfsam_d2.data.base_cache import SMALLEST, BaseCache, choose_windows, pack_masks
from selfsam_d2.data.transforms import AffineCropTransform, draw_affine_crop
from selfsam_d2.errors import InputError

SIZE = (60, 70)
WINDOW = 40
CORNERS = [(0, 0), (0, 30), (20, 0), (20, 30)]
POINTS = np.array([[5.5, 6.0], [35.0, 30.0], [66.0, 50.0], [38.0, 10.0]])


def blob(point, y, x):
    """A mask that tells its window: a disk around the point, its height the window's."""
    rows, columns = np.mgrid[:WINDOW, :WINDOW] + 0.5
    distance = np.hypot(columns + x - point[0], rows + y - point[1])
    return np.where(distance < 9, 0.5 + (y + x) / 100, 0).astype(np.float32)


def windows():
    for y, x in CORNERS:
        there = (((x, y) <= POINTS) & ((x + WINDOW, y + WINDOW) > POINTS)).all(axis=1)
        inside = np.flatnonzero(there)
        yield (y, x), inside, np.stack([blob(POINTS[index], y, x) for index in inside])


@pytest.fixture
def cache(tmp_path):
    cache = BaseCache(tmp_path / "masks")
    cache.keys["a/image.png"] = "key"
    cache.write(RECORD, pack_masks(windows(), SIZE))
    return cache


RECORD = {"file_name": "a/image.png"}


def window_transform(y, x):
    return AffineCropTransform(np.array([[1.0, 0, -x], [0, 1.0, -y]]), (WINDOW, WINDOW))


@pytest.mark.parametrize("window", range(4))
def test_a_crop_that_equals_a_window_takes_the_masks_of_that_window(cache, window):
    (y, x), inside, masks = list(windows())[window]
    found = cache.crop_masks(RECORD, POINTS, inside, window_transform(y, x))
    assert found.dtype == np.float32
    assert len(found) == len(inside) > 0
    np.testing.assert_allclose(found, masks, rtol=2**-11)


def test_a_crop_between_windows_takes_the_one_that_shows_the_nucleus_best(cache):
    packed = pack_masks(windows(), SIZE)
    crop = AffineCropTransform(np.array([[1.0, 0, -20], [0, 1.0, -4]]), (WINDOW, WINDOW))
    chosen = choose_windows(packed, POINTS, np.array([1, 3]), crop)
    # The second point lies in all four windows, the fourth at the border of the left ones.
    assert packed["point"][chosen].tolist() == [1, 3]
    assert packed["corner"][chosen[1]].tolist() == [30, 0]
    found = cache.crop_masks(RECORD, POINTS, np.array([1, 3]), crop)
    assert found[1].max() == pytest.approx(0.8, abs=1e-3)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**31))
def test_masks_move_with_their_points(cache, seed):
    transform = draw_affine_crop(np.random.default_rng(seed), SIZE, WINDOW)
    moved = transform.apply_coords(POINTS)
    inside = np.flatnonzero(((moved >= 0) & (moved < WINDOW)).all(axis=1))
    masks = cache.crop_masks(RECORD, POINTS, inside, transform)
    assert masks.shape == (len(inside), WINDOW, WINDOW)
    for mask, point in zip(masks, moved[inside], strict=True):
        column, row = np.clip(point.astype(int), 0, WINDOW - 1)
        assert mask[row, column] > 0.4
        rows, columns = np.nonzero(mask > 0.4)
        # The disk of 9 px at the largest scale and shear.
        assert np.hypot(columns + 0.5 - point[0], rows + 0.5 - point[1]).max() < 9 * 1.25 * 1.7 + 1


def test_what_is_packed_is_cut_and_compact():
    mask = np.full((1, WINDOW, WINDOW), SMALLEST / 2, dtype=np.float32)
    mask[0, 10:14, 3:8] = 0.7
    packed = pack_masks([((-5, 30), np.array([2]), mask)], SIZE)
    assert packed["box"].tolist() == [[33, 5, 5, 4]]
    assert packed["values"].tolist() == pytest.approx([0.7] * 20, abs=1e-3)
    empty = pack_masks([((0, 0), np.array([0]), mask * 0)], SIZE)
    assert empty["box"][0, 2:].tolist() == [0, 0]
    assert len(empty["values"]) == 0
    assert len(pack_masks([], SIZE)["point"]) == 0


def test_files_of_other_settings_lie_side_by_side(cache):
    masks = next(windows())[2]
    inside = np.array([0])
    cache.keys["a/image.png"] = "another"
    assert not cache.holds(RECORD)
    with pytest.raises(InputError, match=r"image.*npz: stored masks cannot be read"):
        cache.crop_masks(RECORD, POINTS, inside, window_transform(0, 0))
    cache.write(RECORD, pack_masks([], SIZE))
    assert cache.holds(RECORD)
    assert not cache.crop_masks(RECORD, POINTS, inside, window_transform(0, 0)).any()
    cache.keys["a/image.png"] = "key"
    assert cache.holds(RECORD)
    found = cache.crop_masks(RECORD, POINTS, inside, window_transform(0, 0))
    np.testing.assert_allclose(found, masks[:1], rtol=2**-11)


def test_a_file_under_the_name_of_another_is_refused(cache):
    (path,) = cache.folder.glob("*.npz")
    cache.keys["a/image.png"] = "another"
    cache.write(RECORD, pack_masks([], SIZE))
    (other,) = set(cache.folder.glob("*.npz")) - {path}
    other.write_bytes(path.read_bytes())
    assert not cache.holds(RECORD)
    with pytest.raises(InputError, match=r"npz: made from other weights, points or settings"):
        cache.crop_masks(RECORD, POINTS, np.array([0]), window_transform(0, 0))


@pytest.mark.parametrize("suffix", ["npz", "npy"])
@pytest.mark.parametrize("damage", ["cut", "empty", "gone", "grown"])
def test_damaged_files_are_refused_and_made_again(cache, suffix, damage):
    assert cache.holds(RECORD)
    (path,) = cache.folder.glob(f"*.{suffix}")
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "grown" and suffix == "npy":
        np.save(path, np.append(np.load(path), np.float16(1)))
    else:
        path.write_bytes({"cut": content[:-30], "empty": b"", "grown": content[30:]}[damage])
    assert not cache.holds(RECORD)
    with pytest.raises(InputError, match=r"npz: stored masks cannot be read .*; delete it"):
        cache.crop_masks(RECORD, POINTS, np.array([0]), window_transform(0, 0))
    cache.write(RECORD, pack_masks(windows(), SIZE))
    assert cache.holds(RECORD)


def test_a_flipped_bit_shows_in_the_checksum(cache):
    (path,) = cache.folder.glob("*.npy")
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    assert not cache.holds(RECORD)


@pytest.mark.parametrize("function", ["save", "savez_compressed"])
def test_a_broken_write_leaves_nothing_half_done(cache, monkeypatch, function):
    before = {path: path.read_bytes() for path in cache.folder.iterdir()}
    cache.keys["a/image.png"] = "another"

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(np, function, fail)
    with pytest.raises(InputError, match=r"cannot be written \(disk full\)"):
        cache.write(RECORD, pack_masks(windows(), SIZE))
    assert not cache.holds(RECORD)
    assert not list(cache.folder.glob("*.part"))
    cache.keys["a/image.png"] = "key"
    assert cache.holds(RECORD)
    assert all(path.read_bytes() == content for path, content in before.items())


def test_values_are_mapped_and_no_file_stays_open(cache, monkeypatch):
    modes = []
    load = np.load

    def spy(path, mmap_mode=None, **options):
        modes.append((Path(path).suffix, mmap_mode))
        return load(path, mmap_mode=mmap_mode, **options)

    monkeypatch.setattr(np, "load", spy)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, limits[1]))
    try:
        for number in range(220):
            record = {"file_name": f"{number}.png"}
            cache.keys[record["file_name"]] = "key"
            cache.write(record, pack_masks(windows(), SIZE))
            found = cache.crop_masks(record, POINTS, np.array([0]), window_transform(0, 0))
            assert found.any()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert set(modes) == {(".npz", None), (".npy", "r")}


def test_values_of_another_writing_are_never_taken(cache):
    """As when two runs write at once: the values of one, then those and the index of the other."""
    (index,) = cache.folder.glob("*.npz")
    kept = index.read_bytes()
    other = [(corner, inside, masks / 2) for corner, inside, masks in windows()]
    cache.write(RECORD, pack_masks(other, SIZE))
    index.write_bytes(kept)
    assert cache.holds(RECORD)
    found = cache.crop_masks(RECORD, POINTS, np.array([0]), window_transform(0, 0))
    np.testing.assert_allclose(found, next(windows())[2][:1], rtol=2**-11)


def test_an_image_without_masks(cache):
    cache.keys["a/image.png"] = "none"
    cache.write(RECORD, pack_masks([], SIZE))
    found = cache.crop_masks(RECORD, POINTS, np.array([0]), window_transform(0, 0))
    assert found.shape == (1, WINDOW, WINDOW)
    assert not found.any()
