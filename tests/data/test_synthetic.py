from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.color import rgb2hed

from selfsam_d2.data.coco_json import load_coco_json
from selfsam_d2.data.images import read_image
from selfsam_d2.data.synthetic import make_synthetic_image, write_synthetic_dataset
from selfsam_d2.errors import InputError
from selfsam_d2.structures.annotation_masks import annotations_to_map


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.integers(32, 160),
    nuclei=st.integers(0, 40),
)
def test_map_is_well_formed(seed, size, nuclei):
    image, instance_map = make_synthetic_image(np.random.default_rng(seed), size, nuclei)
    assert image.shape == (size, size, 3)
    assert image.dtype == np.uint8
    assert instance_map.shape == (size, size)
    assert instance_map.dtype == np.int32
    ids = np.unique(instance_map[instance_map > 0])
    assert len(ids) <= nuclei
    np.testing.assert_array_equal(ids, np.arange(1, len(ids) + 1))
    for nucleus in ids:
        assert ndimage.label(instance_map == nucleus)[1] == 1


@pytest.mark.parametrize("seed", range(4))
def test_nuclei_stay_whole_in_a_crowd(seed):
    _, instance_map = make_synthetic_image(np.random.default_rng(seed), 192, 150)
    pieces = [ndimage.label(instance_map == i)[1] for i in range(1, instance_map.max() + 1)]
    assert len(pieces) > 60
    assert set(pieces) == {1}


def test_same_generator_same_image():
    first = make_synthetic_image(np.random.default_rng(3), 96, 20)
    again = make_synthetic_image(np.random.default_rng(3), 96, 20)
    other = make_synthetic_image(np.random.default_rng(4), 96, 20)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert (first[0] != other[0]).any()


def test_nuclei_are_where_the_haematoxylin_is():
    image, instance_map = make_synthetic_image(np.random.default_rng(0), 256, 80)
    haematoxylin = rgb2hed(image)[..., 0]
    inside = haematoxylin[instance_map > 0]
    # Two pixels around the nuclei are left out: the blur of the optics.
    outside = haematoxylin[~ndimage.binary_dilation(instance_map > 0, iterations=2)]
    assert np.percentile(inside, 10) > np.percentile(outside, 90)
    # Stroma is pink: red above blue above green.
    red, green, blue = image[instance_map == 0].mean(axis=0)
    assert red > blue > green


def test_sizes_vary_and_some_nuclei_touch():
    _, instance_map = make_synthetic_image(np.random.default_rng(1), 320, 110)
    assert instance_map.max() > 90
    areas = np.bincount(instance_map.ravel())[1:]
    assert np.percentile(areas, 90) > 2.5 * np.percentile(areas, 10)
    pairs = set()
    for one, other in (
        (instance_map[1:], instance_map[:-1]),
        (instance_map[:, 1:], instance_map[:, :-1]),
    ):
        touching = (one != other) & (one > 0) & (other > 0)
        pairs |= set(zip(one[touching].tolist(), other[touching].tolist(), strict=True))
    assert len(pairs) >= 10


@pytest.mark.parametrize(("size", "nuclei"), [(31, 3), (64, -1)])
def test_refuses_impossible_images(size, nuclei):
    with pytest.raises(ValueError, match="Expected argument"):
        make_synthetic_image(np.random.default_rng(0), size, nuclei)


def test_dataset_can_be_loaded_and_train_has_points_only(tmp_path):
    splits = write_synthetic_dataset(tmp_path, seed=5, train=2, val=1, size=96)
    train = load_coco_json(splits["train"].json_file, splits["train"].image_root)
    val = load_coco_json(splits["val"].json_file, splits["val"].image_root)
    assert [len(train), len(val)] == [2, 1]
    annotations = [each for record in train for each in record["annotations"]]
    assert annotations
    assert all(set(each) == {"id", "category_id", "point"} for each in annotations)
    text = json.loads(splits["train"].json_file.read_text())
    assert not any("segmentation" in each or "bbox" in each for each in text["annotations"])
    assert all(each["segmentation"] for each in val[0]["annotations"])
    truth = annotations_to_map(val[0]["annotations"], 96, 96)
    image = read_image(val[0]["file_name"])
    darkness = 255 - image.mean(axis=2)
    assert darkness[truth > 0].mean() > darkness[truth == 0].mean() + 30
    for each in val[0]["annotations"]:
        x, y = each["point"]
        assert truth[int(y), int(x)] > 0


def test_dataset_is_the_same_for_a_seed_and_replaces_an_earlier_one(tmp_path):
    def content(folder):
        return {
            path.relative_to(folder): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    one, two = tmp_path / "one", tmp_path / "two"
    write_synthetic_dataset(one, seed=5, train=2, val=1, size=64)
    write_synthetic_dataset(two, seed=6, train=3, val=2, size=64)
    assert content(one) != content(two)
    (two / "train" / "notes.txt").write_text("of the user")
    write_synthetic_dataset(two, seed=5, train=2, val=1, size=64)
    (two / "train" / "notes.txt").unlink()
    assert content(one) == content(two)


def test_train_and_val_differ(tmp_path):
    splits = write_synthetic_dataset(tmp_path, seed=0, train=1, val=1, size=64)
    train, val = (next(splits[name].image_root.glob("*.png")) for name in ("train", "val"))
    assert train.read_bytes() != val.read_bytes()


@pytest.mark.parametrize("options", [{"train": 0}, {"val": 0}, {"size": 8}])
def test_refuses_an_empty_dataset(tmp_path, options):
    with pytest.raises(InputError, match="needed"):
        write_synthetic_dataset(tmp_path, seed=0, **options)


def test_says_when_the_folder_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_synthetic_dataset(tmp_path / "file", seed=0, train=1, val=1, size=64)
