"""Which training images are looked at, which part of them, and what is counted on it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from selfsam_d2.data.coco_json import CATEGORY, write_coco_json
from selfsam_d2.data.registration import register_nuclei_instances
from selfsam_d2.engine.setup import load_config
from selfsam_d2.engine.training_images import (
    MAX_IMAGES,
    MAX_SIDE,
    MatchedImage,
    TrainingImage,
    choose_matched,
    crop_window,
    match_image,
    read_training_images,
)
from selfsam_d2.errors import InputError
from selfsam_d2.evaluation.point_matches import match_points

NUCLEUS = (90, 50, 140)


class DarkIsNucleus(torch.nn.Module):
    """A model that finds two nuclei: the dark pixels of the left and of the right half."""

    def forward(self, batch):
        (sample,) = batch
        dark = sample["image"][0] < 100
        right = torch.arange(dark.shape[1]) >= dark.shape[1] // 2
        return [{"instance_map": dark.int() * (1 + right.int())}]


@pytest.fixture
def config(tmp_path):
    """Function: name of a dataset, {stem: (size, points, crowd box)} -> config trained on it."""

    def make(name, images):
        records, annotations = [], []
        for number, (stem, (size, points, crowd)) in enumerate(images.items(), start=1):
            pixels = np.full((*size, 3), (230, 190, 215), np.uint8)
            for x, y in points:
                pixels[int(y), int(x)] = NUCLEUS
            Image.fromarray(pixels).save(tmp_path / f"{stem}.png")
            records.append(
                {"id": number, "file_name": f"{stem}.png", "height": size[0], "width": size[1]}
            )
            common = {"image_id": number, "category_id": CATEGORY["id"]}
            entries = [{"point": list(map(float, point))} for point in points]
            if crowd is not None:
                x0, y0, x1, y1 = crowd
                outline = [x0, y0, x1, y0, x1, y1, x0, y1]
                entries.append({"segmentation": [outline], "iscrowd": 1})
            for entry in entries:
                annotations.append({"id": len(annotations) + 1, **common, **entry})
        coco = {"images": records, "categories": [CATEGORY], "annotations": annotations}
        write_coco_json(tmp_path / f"{name}.json", coco)
        register_nuclei_instances(name, tmp_path / f"{name}.json", tmp_path)
        cfg = load_config("", ["MODEL.META_ARCHITECTURE", "SelfSAM"])
        cfg.DATASETS.TRAIN = (name,)
        return cfg

    return make


@given(
    st.integers(1, 2000),
    st.integers(1, 2000),
    st.lists(st.tuples(*[st.floats(0, 1, exclude_max=True, width=32)] * 2), min_size=1),
)
def test_the_window_is_inside_and_holds_a_point(height, width, drawn):
    points = np.array(drawn) * (width, height)
    windows = crop_window(points, (height, width))
    for window, length in zip(windows, (height, width), strict=True):
        assert window.start >= 0
        assert window.stop <= length
        assert window.stop - window.start == min(length, MAX_SIDE)
    rows, columns = windows
    low, high = (columns.start, rows.start), (columns.stop, rows.stop)
    assert ((points >= low) & (points < high)).all(axis=1).any()


def test_the_window_lies_around_the_point_in_the_middle():
    points = np.array([(900.0, 5.0), (1000.0, 6.0), (1900.0, 7.0)])
    half = MAX_SIDE // 2
    assert crop_window(points, (40, 2000)) == (slice(0, 40), slice(1000 - half, 1000 + half))
    two = points[[0, 2]]  # none is in the middle: the first one
    assert crop_window(two, (40, 2000)) == (slice(0, 40), slice(900 - half, 900 + half))


def test_a_dozen_is_chosen_evenly_among_images_with_points(config):
    images = {f"{number:02d}": ((40, 30), [(number, 7)], None) for number in range(24)}
    images["05"] = ((40, 30), [], None)
    found, total = read_training_images(config("images_dozen", images))
    assert total == 23
    assert len(found) == MAX_IMAGES
    assert [each.name for each in found] == [
        *("00", "02", "04", "07", "09", "11", "13", "15", "17", "19", "21", "23"),
    ]
    assert [each.points.tolist() for each in found[:2]] == [[[0, 7]], [[2, 7]]]
    assert all(each.whole and not each.unknown.any() for each in found)


def test_points_of_a_crop_move_with_it_and_what_it_cuts_is_unknown(config):
    side = MAX_SIDE + 100
    points = [(5, 300), (300, 300), (301, 611), (300, 10)]  # the second one is in the middle
    (found,), _ = read_training_images(config("images_large", {"a": ((side, 400), points, None)}))
    begin = 300 - MAX_SIDE // 2
    assert not found.whole
    assert found.image.shape == (MAX_SIDE, 400, 3)
    assert found.points.tolist() == [[5, 300 - begin], [300, 300 - begin]]
    for x, y in found.points:
        assert tuple(found.image[int(y), int(x)]) == NUCLEUS
    # Cut above and below, not at the sides.
    expected = np.zeros((MAX_SIDE, 400), bool)
    expected[[0, -1]] = True
    assert (found.unknown == expected).all()


def test_crops_of_wide_images_are_cut_at_the_sides(config):
    points = [(300, 5)]
    side = MAX_SIDE + 100
    (found,), _ = read_training_images(config("images_wide", {"a": ((40, side), points, None)}))
    expected = np.zeros((40, MAX_SIDE), bool)
    expected[:, [0, -1]] = True
    assert (found.unknown == expected).all()
    last = [(side - 1, 5)]
    (found,), _ = read_training_images(config("images_right", {"b": ((40, side), last, None)}))
    assert found.unknown[:, 0].all()
    assert not found.unknown[:, 1:].any()


def test_nothing_is_counted_where_nobody_set_points(config):
    images = {"a": ((40, 60), [(10, 10), (50, 10)], (40, 0, 60, 40))}
    (found,), _ = read_training_images(config("images_crowd", images))
    assert found.unknown[:, 40:].all()
    assert not found.unknown[:, :40].any()
    matched = match_image(DarkIsNucleus(), found)
    assert matched.matches.of_nucleus == {1: "one point", 2: "one point"}
    elsewhere = TrainingImage("a", found.image, found.points[:1], found.unknown, True)
    matched = match_image(DarkIsNucleus(), elsewhere)
    assert matched.matches.of_nucleus == {1: "one point", 2: "not counted"}


def test_the_points_are_those_that_the_training_saw(config):
    cfg = config("images_shifted", {"a": ((40, 60), [(10, 10)], None)})
    cfg.INPUT.NUCLEI.SHIFT = 5.0
    ((found,), _) = read_training_images(cfg)
    assert 0 < np.abs(found.points - (10, 10)).max() <= 5


def test_equal_ids_and_stems_of_two_datasets_are_told_apart(config, tmp_path):
    first = config("images_one", {"a": ((40, 60), [(10, 10)], None)})
    folder = tmp_path / "more"
    folder.mkdir()
    (tmp_path / "a.png").rename(folder / "a.png")
    register_nuclei_instances("images_two", tmp_path / "images_one.json", folder)
    config("images_back", {"a": ((40, 60), [(11, 10)], None)})
    first.DATASETS.TRAIN = ("images_back", "images_two")
    found, total = read_training_images(first)
    assert total == 2
    assert [each.name for each in found] == [str(tmp_path / "a.png"), str(folder / "a.png")]


def test_says_which_dataset_or_image_is_missing(config, tmp_path):
    cfg = config("images_gone", {"a": ((40, 60), [(10, 10)], None)})
    (tmp_path / "a.png").unlink()
    with pytest.raises(InputError, match=r"a\.png"):
        read_training_images(cfg)
    cfg.DATASETS.TRAIN = ("images_unknown",)
    with pytest.raises(InputError, match="images_unknown"):
        read_training_images(cfg)


def matched(name, points, without):
    """An image with nuclei for all points but some."""
    places = np.array([(x, 0) for x in range(points)], np.float64)
    pred = np.arange(1, points + 1)[None].repeat(2, axis=0)
    pred[:, :without] = 0
    unknown = np.zeros(pred.shape, bool)
    source = TrainingImage(name, np.zeros((2, points, 3), np.uint8), places, unknown, True)
    return MatchedImage(source, pred, match_points(places, pred, unknown))


@pytest.mark.parametrize(
    ("differences", "chosen"),
    [
        ({"a": 3, "b": 0, "c": 9}, {"smallest": "b", "median": "a", "largest": "c"}),
        ({"a": 3, "b": 0}, {"smallest": "b", "largest": "a"}),
        ({"a": 3}, {"smallest": "a"}),
        ({"a": 3, "b": 4, "c": 5, "d": 6}, {"smallest": "a", "median": "c", "largest": "d"}),
    ],
)
def test_smallest_median_and_largest_difference(differences, chosen):
    images = [matched(name, 10, without) for name, without in differences.items()]
    found = choose_matched(images)
    assert {word: each.source.name for word, each in found.items()} == chosen
    assert list(found) == list(chosen)


def test_differences_are_relative_to_the_number_of_points():
    images = [matched("many", 20, 3), matched("few", 4, 2), matched("middle", 10, 3)]
    found = choose_matched(images)
    assert [each.source.name for each in found.values()] == ["many", "middle", "few"]
