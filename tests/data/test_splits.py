"""The official splits, and what is said of a folder that is none of them."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest

from selfsam_d2.data.splits import OFFICIAL_SPLITS, TNBC_PATIENTS, check_split
from selfsam_d2.errors import InputError

FOLDER = Path("images")
COUNTS = {
    "monuseg": {"train": 12, "val": 4, "test": 14},
    "cpm17": {"train": 32, "test": 32},
    "consep": {"train": 27, "test": 14},
    "tnbc": {"train": 30, "val": 7, "test": 13},
}
TNBC_TEST = [f"{patient}_{n}" for patient in TNBC_PATIENTS["test"] for n in (1, 2, 3, 4)] + ["09_5"]


def official_images(dataset, split):
    names = OFFICIAL_SPLITS[dataset][split].names or TNBC_TEST
    return {name: FOLDER / f"{name}.png" for name in names}


def refusal(dataset, split, images):
    with pytest.raises(InputError) as caught:
        check_split(dataset, split, images, FOLDER)
    assert str(caught.value).startswith("images: ")
    assert "--any-images" in str(caught.value)
    return str(caught.value)


def test_counts_are_those_of_the_papers():
    counts = {
        dataset: {split: official.count for split, official in splits.items()}
        for dataset, splits in OFFICIAL_SPLITS.items()
    }
    assert counts == COUNTS
    for splits in OFFICIAL_SPLITS.values():
        for official in splits.values():
            assert len(official.names) in (0, official.count)


@pytest.mark.parametrize("dataset", ["monuseg", "consep", "tnbc"])
def test_splits_of_a_dataset_share_no_image(dataset):
    for one, other in combinations(OFFICIAL_SPLITS[dataset].values(), 2):
        assert not one.names & other.names
    for patients in combinations(TNBC_PATIENTS.values(), 2):
        assert not set(patients[0]) & set(patients[1])


def test_monuseg_has_two_to_six_images_of_each_organ():
    """Kumar 2017: six of breast, kidney, liver, prostate each, two of bladder, colon, stomach."""
    institutes = {
        **dict.fromkeys(("A7", "AR", "E2"), "breast"),
        **dict.fromkeys(("B0", "HE"), "kidney"),
        **dict.fromkeys(("18", "21", "38", "49", "50"), "liver"),
        **dict.fromkeys(("CH", "G9"), "prostate"),
        **{"DK": "bladder", "G2": "bladder", "AY": "colon", "NH": "colon"},
        **{"KB": "stomach", "RD": "stomach"},
    }
    counts = {}
    for split, official in OFFICIAL_SPLITS["monuseg"].items():
        for name in official.names:
            organ = institutes[name.split("-")[1]]
            counts.setdefault(organ, {"train": 0, "val": 0, "test": 0})[split] += 1
    both = {"train": 3, "val": 1, "test": 2}
    alone = {"train": 0, "val": 0, "test": 2}
    assert counts == {
        **dict.fromkeys(("breast", "kidney", "liver", "prostate"), both),
        **dict.fromkeys(("bladder", "colon", "stomach"), alone),
    }


@pytest.mark.parametrize(
    ("dataset", "split"),
    [(dataset, split) for dataset, splits in COUNTS.items() for split in splits],
)
def test_official_images_pass_and_others_are_named(dataset, split):
    images = official_images(dataset, split)
    check_split(dataset, split, images, FOLDER)
    name = min(images)
    fewer = {stem: path for stem, path in images.items() if stem != name}
    message = refusal(dataset, split, fewer)
    assert f"{len(images)} images ({len(fewer)} found" in message
    assert f"missing: {name}" in message or OFFICIAL_SPLITS[dataset][split].patients
    message = refusal(dataset, split, {**fewer, "mine": FOLDER / "mine.png"})
    assert "not of it: mine.png" in message


def test_an_organ_may_stand_before_the_code_but_not_twice():
    images = official_images("monuseg", "val")
    with_organ = {f"Liver_{stem}": path for stem, path in images.items()}
    check_split("monuseg", "val", with_organ, FOLDER)
    message = refusal("monuseg", "val", {**images, **with_organ})
    assert "is not monuseg's val split of 4 images (8 found)" in message


def test_only_the_first_few_are_named():
    message = refusal("cpm17", "train", official_images("consep", "test"))
    assert "missing: image_00, image_01, image_02 and 29 more" in message
    assert "and 11 more); give a folder" in message
    assert refusal("cpm17", "test", {}).count("image_") == 3


def test_an_image_too_many_of_a_patient_is_noticed():
    images = official_images("tnbc", "test")
    message = refusal("tnbc", "test", {**images, "11_9": FOLDER / "11_9.png"})
    assert "13 images (14 found)" in message
    assert "not of it: 08_1.png" in refusal("tnbc", "test", {**images, "08_1": FOLDER / "08_1.png"})
