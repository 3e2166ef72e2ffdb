"""``datasets/prepare_tnbc.py`` run as a command, on files of the published form."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_util

from selfsam_d2.data.coco_json import load_coco_json
from selfsam_d2.data.registration import builtin_paths
from selfsam_d2.data.splits import OFFICIAL_SPLITS
from selfsam_d2.structures.label_maps import read_label_map

SCRIPT = "prepare_tnbc.py"
SIDE = 24
NUMBERS = {
    **{"01": 7, "02": 3, "03": 5, "04": 8, "05": 4, "06": 3, "07": 3, "08": 4},
    **{"09": 6, "10": 4, "11": 3},
    "12": 2,  # brain, in a later version
}
MASK = np.zeros((SIDE, SIDE), dtype=np.uint8)
MASK[2:7, 2:7] = 255
MASK[7:10, 7:10] = 255  # touches the first by a corner: the same nucleus
MASK[15:20, 3:9] = 255
REGIONS = np.where(MASK > 0, 1 + (np.arange(SIDE)[:, None] > 12), 0)


@pytest.fixture
def published(tmp_path):
    """The folder TNBC_NucleiSegmentation."""
    folder = tmp_path / "TNBC_NucleiSegmentation"
    for patient, count in NUMBERS.items():
        for kind in ("Slide", "GT"):
            (folder / f"{kind}_{patient}").mkdir(parents=True)
        for number in range(1, count + 1):
            name = f"{patient}_{number}.png"
            image = Image.new("RGBA", (SIDE, SIDE), (200, 150, 190, 255))
            image.save(folder / f"Slide_{patient}" / name)
            Image.fromarray(MASK).save(folder / f"GT_{patient}" / name)
    return folder


def masks_of(record):
    rebuilt = np.zeros((SIDE, SIDE), dtype=np.int64)
    for nucleus, annotation in enumerate(record["annotations"], start=1):
        rebuilt += nucleus * mask_util.decode(annotation["segmentation"]).astype(np.int64)
    return rebuilt


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_patients_of_the_split_are_taken_from_the_published_folder(
    tmp_path, published, run_script, split
):
    root = tmp_path / "root"
    arguments = ("--split", split, "--images", published, "--output", root)
    status, stdout, stderr = run_script(SCRIPT, *arguments)
    assert (status, stderr) == (0, "")
    count = OFFICIAL_SPLITS["tnbc"][split].count
    assert f"{count} images, {2 * count} nuclei, 0 points outside" in stdout
    json_file, image_root = builtin_paths("tnbc", split, root)
    records = load_coco_json(json_file, image_root)
    assert len(records) == count
    for record in records:
        np.testing.assert_array_equal(masks_of(record), REGIONS)
    label_map = next((root / "tnbc" / split / "labels").iterdir())
    np.testing.assert_array_equal(read_label_map(label_map), REGIONS)


def test_regions_of_another_value_are_other_nuclei(tmp_path, published, run_script):
    """As in the later version whose masks hold the types of the nuclei."""
    types = np.where(MASK > 0, 3, 0).astype(np.uint8)
    types[2:5, 2:7] = 5
    for path in published.glob("GT_0[78]/*.png"):
        Image.fromarray(types).save(path)
    arguments = ("--split", "val", "--images", published, "--output", tmp_path)
    status, stdout, _ = run_script(SCRIPT, *arguments)
    assert status == 0
    assert "7 images, 21 nuclei" in stdout


def test_plain_folders(tmp_path, run_script):
    images, labels = tmp_path / "images", tmp_path / "labels_instance"
    images.mkdir()
    labels.mkdir()
    ids = np.where(REGIONS == 2, 700, REGIONS).astype(np.uint16)
    for name in OFFICIAL_SPLITS["tnbc"]["val"].names:
        Image.new("RGB", (SIDE, SIDE)).save(images / f"{name}.png")
        Image.fromarray(ids).save(labels / f"{name}.png")
    arguments = ("--split", "val", "--images", images, "--output", tmp_path)
    status, stdout, stderr = run_script(SCRIPT, *arguments, "--labels", labels, "--points-only")
    assert (status, stderr) == (0, "")
    assert "7 images, 14 nuclei" in stdout
    json_file, image_root = builtin_paths("tnbc", "val", tmp_path)
    (record, *_) = load_coco_json(json_file, image_root)
    assert [set(each) for each in record["annotations"]] == [{"id", "category_id", "point"}] * 2
    assert not (tmp_path / "tnbc" / "val" / "labels").exists()
    status, _, stderr = run_script(SCRIPT, *arguments)
    assert status == 2
    assert stderr.startswith(f"error: {images}: has no folders Slide_NN; give the label maps")
    assert stderr.count("\n") == 1


def spoil_patient(published):
    for path in (published / "Slide_03").iterdir():
        path.unlink()
    (published / "Slide_03").rmdir()


def spoil_image(published):
    (published / "Slide_03" / "03_2.png").unlink()


def spoil_masks(published):
    for path in published.glob("GT_*"):
        path.rename(path.with_name(f"masks_{path.name}"))


def spoil_mask(published):
    Image.new("RGB", (SIDE, SIDE)).save(published / "GT_01" / "01_1.png")


def spoil_pair(published):
    (published / "GT_01" / "01_1.png").unlink()


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (spoil_patient, "missing: 03_1, 03_2, 03_3 and 2 more"),
        (spoil_image, "(29 found; missing: 03_2)"),
        (spoil_masks, "no folder GT_NN of the train split"),
        (spoil_mask, "01_1.png: has colour mode RGB"),
        (spoil_pair, "01_1.png: no label map of the same name"),
    ],
)
def test_bad_input_is_one_line(tmp_path, published, run_script, spoil, problem):
    spoil(published)
    root = tmp_path / "root"
    arguments = ("--split", "train", "--images", published, "--output", root)
    status, _, stderr = run_script(SCRIPT, *arguments)
    assert status == 2
    assert stderr.startswith(f"error: {published}")
    assert problem in stderr
    assert stderr.count("\n") == 1
    assert not builtin_paths("tnbc", "train", root).json_file.exists()


def test_a_split_of_ones_own_takes_all_patients(tmp_path, published, run_script):
    arguments = ("--split", "train", "--images", published, "--output", tmp_path, "--any-images")
    status, stdout, stderr = run_script(SCRIPT, *arguments)
    assert (status, stderr) == (0, "")
    assert f"{sum(NUMBERS.values())} images" in stdout
    for kind in ("Slide", "GT"):
        folder = published / f"{kind}_05" / "05_1.png"
        folder.rename(folder.with_name("01_1.png"))
    status, _, stderr = run_script(SCRIPT, *arguments)
    assert status == 2
    assert "05/01_1.png: same name as" in stderr.replace("Slide_", "")
