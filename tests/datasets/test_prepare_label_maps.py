"""``datasets/prepare_label_maps.py`` run as a command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from pycocotools import mask as mask_util

from selfsam_d2.data.coco_json import load_coco_json

SCRIPT = "prepare_label_maps.py"
HEIGHT, WIDTH = 30, 40


def label_map(seed):
    """Ids with gaps, one nucleus of which is a C that does not hold its box's centre."""
    labels = np.zeros((HEIGHT, WIDTH), dtype=np.int64)
    labels[2:9, 3 + seed : 12] = 7
    labels[2:9, 20:29] = 300
    labels[4:7, 22:29] = 0
    labels[25:, 35:] = 2
    return labels


@pytest.fixture
def folders(tmp_path):
    images, labels = tmp_path / "images", tmp_path / "labels"
    images.mkdir()
    labels.mkdir()
    for seed, suffix in enumerate((".png", ".tif", ".jpg")):
        Image.new("RGB", (WIDTH, HEIGHT), (190, 120, 180)).save(images / f"slide_{seed}{suffix}")
    np.save(labels / "slide_0.npy", label_map(0))
    tifffile.imwrite(labels / "slide_1.tiff", label_map(1).astype(np.int32))
    Image.fromarray(label_map(2).astype(np.uint16)).save(labels / "slide_2.png")
    return images, labels


def test_maps_come_back(tmp_path, folders, run_python):
    images, labels = folders
    output = tmp_path / "new" / "nuclei.json"
    arguments = ("--images", images, "--labels", labels, "--output", output)
    status, stdout, stderr = run_python(f"datasets/{SCRIPT}", *arguments)
    assert (status, stderr) == (0, "")
    summary, usage = stdout.splitlines()
    assert summary.endswith("3 images, 9 nuclei, 0 points outside their own nucleus")
    assert usage == f"use it with: --register nuclei {output} {images}"
    records = load_coco_json(output, images)
    assert [Path(record["file_name"]).name for record in records] == [
        "slide_0.png",
        "slide_1.tif",
        "slide_2.jpg",
    ]
    for seed, record in enumerate(records):
        rebuilt = np.zeros((HEIGHT, WIDTH), dtype=np.int64)
        for nucleus, annotation in zip([2, 7, 300], record["annotations"], strict=True):
            rebuilt += nucleus * mask_util.decode(annotation["segmentation"]).astype(np.int64)
            x, y = annotation["point"]
            assert label_map(seed)[int(y), int(x)] == nucleus
        np.testing.assert_array_equal(rebuilt, label_map(seed))


def test_points_only_and_box_centres(tmp_path, folders, run_script):
    images, labels = folders
    output = tmp_path / "nuclei.json"
    arguments = ("--images", images, "--labels", labels, "--output", output)
    status, stdout, stderr = run_script(SCRIPT, *arguments, "--points-only", "--centre", "box")
    assert (status, stderr) == (0, "")
    assert "9 nuclei, 3 points outside" in stdout
    coco = json.loads(output.read_text())
    assert set(coco["annotations"][0]) == {"id", "image_id", "category_id", "point"}
    assert coco["annotations"][2]["point"] == [24.5, 5.5]


def spoil_folder(images, labels):
    images.rename(images.with_name("moved"))


def spoil_image_without_labels(images, labels):
    (labels / "slide_1.tiff").unlink()


def spoil_labels_without_image(images, labels):
    (images / "slide_1.tif").unlink()


def spoil_size(images, labels):
    np.save(labels / "slide_0.npy", label_map(0)[:-1])


def spoil_ids(images, labels):
    np.save(labels / "slide_0.npy", -label_map(0))


def spoil_image(images, labels):
    Image.new("L", (WIDTH, HEIGHT)).save(images / "slide_0.png")


def spoil_png(images, labels):
    path = labels / "slide_2.png"
    path.write_bytes(path.read_bytes()[:60])


def spoil_all_labels(images, labels):
    for path in labels.iterdir():
        path.unlink()
    for stem in ("slide_0", "slide_1", "slide_2"):
        np.save(labels / f"{stem}.npy", 0 * label_map(0))


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (spoil_folder, "images: no such folder"),
        (spoil_image_without_labels, "slide_1.tif: no label map of the same name"),
        (spoil_labels_without_image, "slide_1.tiff: no image of the same name"),
        (spoil_size, "slide_0.npy: is 40 x 29 pixels"),
        (spoil_ids, "slide_0.npy: holds the negative id -300"),
        (spoil_image, "slide_0.png: grey image"),
        (spoil_png, "slide_2.png: truncated"),
        (spoil_all_labels, "labels: no points"),
    ],
)
def test_bad_input_is_one_line(tmp_path, folders, run_script, spoil, problem):
    images, labels = folders
    spoil(images, labels)
    output = tmp_path / "nuclei.json"
    status, _, stderr = run_script(
        SCRIPT, "--images", images, "--labels", labels, "--output", output
    )
    assert status == 2
    assert stderr.startswith("error: ")
    assert problem in stderr
    assert stderr.count("\n") == 1
    assert not output.exists()


def test_stderr_of_the_process_is_one_line(tmp_path, folders, run_python):
    images, labels = folders
    spoil_png(images, labels)
    arguments = ("--images", images, "--labels", labels, "--output", tmp_path / "nuclei.json")
    status, _, stderr = run_python(f"datasets/{SCRIPT}", *arguments)
    assert status == 2
    assert stderr.startswith(f"error: {labels / 'slide_2.png'}: truncated")
    assert stderr.count("\n") == 1


def test_foreground_masks_are_refused(tmp_path, folders, run_script):
    images, labels = folders
    for path in labels.iterdir():
        path.unlink()
    for seed in range(3):
        np.save(labels / f"slide_{seed}.npy", label_map(seed) > 0)
    status, _, stderr = run_script(
        SCRIPT, "--images", images, "--labels", labels, "--output", tmp_path / "o.json"
    )
    assert status == 2
    assert "give each nucleus an id of its own" in stderr
    # One of many maps may hold a single nucleus in parts.
    np.save(labels / "slide_1.npy", label_map(1))
    status, _, _ = run_script(
        SCRIPT, "--images", images, "--labels", labels, "--output", tmp_path / "o.json"
    )
    assert status == 0
