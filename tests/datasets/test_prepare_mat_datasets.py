"""``datasets/prepare_cpm17.py`` and ``prepare_consep.py`` run as commands, on made files."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_util
from scipy.io import savemat

from selfsam_d2.data.coco_json import load_coco_json
from selfsam_d2.data.images import read_image
from selfsam_d2.data.registration import builtin_paths
from selfsam_d2.data.splits import OFFICIAL_SPLITS

HEIGHT, WIDTH = 20, 26
DATASETS = ("cpm17", "consep")


def instance_map(seed):
    """Two touching nuclei and one at the border; ids with a gap."""
    labels = np.zeros((HEIGHT, WIDTH), dtype=np.int32)
    labels[3:9, 2 + seed % 3 : 8] = 5
    labels[3:9, 8:14] = 2
    labels[15:, 20:] = 9
    return labels


def pixels(seed, channels):
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, channels), dtype=np.uint8)


@pytest.fixture
def published(tmp_path):
    """Function: dataset, split -> (Images, Labels) with all images of the official split."""

    def write(dataset, split):
        images, labels = (tmp_path / dataset / split / name for name in ("Images", "Labels"))
        images.mkdir(parents=True)
        labels.mkdir()
        for seed, name in enumerate(sorted(OFFICIAL_SPLITS[dataset][split].names)):
            channels = 4 if dataset == "consep" else 3
            Image.fromarray(pixels(seed, channels)).save(images / f"{name}.png")
            variables = {"inst_map": instance_map(seed).astype(float)}
            if dataset == "consep":
                variables["type_map"] = (instance_map(seed) > 0) * 4.0
                variables["inst_type"] = np.full((3, 1), 4.0)
            savemat(labels / f"{name}.mat", variables, do_compression=bool(seed % 2))
        return images, labels

    return write


def options(images, labels, split, root, *more):
    return ("--split", split, "--images", images, "--labels", labels, "--output", root, *more)


@pytest.mark.parametrize(
    ("dataset", "split"), [(name, split) for name in DATASETS for split in ("train", "test")]
)
def test_published_form_becomes_the_registered_dataset(
    tmp_path, published, run_script, dataset, split
):
    images, labels = published(dataset, split)
    root = tmp_path / "root"
    script = f"prepare_{dataset}.py"
    status, stdout, stderr = run_script(script, *options(images, labels, split, root))
    assert (status, stderr) == (0, "")
    count = OFFICIAL_SPLITS[dataset][split].count
    summary, registered = stdout.splitlines()
    assert f"{count} images, {3 * count} nuclei, 0 points outside" in summary
    assert registered == f"registered as {dataset}_{split} with DETECTRON2_DATASETS={root}"
    json_file, image_root = builtin_paths(dataset, split, root)
    records = load_coco_json(json_file, image_root)
    assert len(records) == count
    for seed, record in enumerate(records):
        np.testing.assert_array_equal(read_image(record["file_name"]), pixels_read(dataset, seed))
        rebuilt = np.zeros((HEIGHT, WIDTH), dtype=np.int64)
        for nucleus, annotation in zip([2, 5, 9], record["annotations"], strict=True):
            rebuilt += nucleus * mask_util.decode(annotation["segmentation"]).astype(np.int64)
        np.testing.assert_array_equal(rebuilt, instance_map(seed))
    link = image_root / sorted(images.iterdir())[0].name
    assert link.is_symlink()


def pixels_read(dataset, seed):
    return pixels(seed, 4)[..., :3] if dataset == "consep" else pixels(seed, 3)


def test_images_of_another_split_are_noticed(tmp_path, published, run_script):
    """Both splits of CPM17 name their images alike."""
    images, labels = published("cpm17", "train")
    root = tmp_path / "root"
    train, test = (options(images, labels, split, root) for split in ("train", "test"))
    for _ in range(2):  # a split may be prepared again
        assert run_script("prepare_cpm17.py", *train)[0] == 0
    status, _, stderr = run_script("prepare_cpm17.py", *test)
    assert (status, stderr.count("\n")) == (2, 1)
    prepared = builtin_paths("cpm17", "train", root).image_root / "image_00.png"
    assert f"{images / 'image_00.png'}: is {prepared} of the train split; give the" in stderr
    assert not (root / "cpm17" / "test").exists()
    assert run_script("prepare_cpm17.py", *test, "--any-images")[0] == 0
    assert run_script("prepare_cpm17.py", *train)[0] == 2
    others, labels = published("cpm17", "test")
    for seed, path in enumerate(sorted(others.iterdir())):
        Image.fromarray(pixels(100 + seed, 3)).save(path)
    right = options(others, labels, "test", root)
    assert run_script("prepare_cpm17.py", *right)[::2] == (0, "")
    assert run_script("prepare_cpm17.py", *train)[::2] == (0, "")


def test_points_only(tmp_path, published, run_script):
    images, labels = published("cpm17", "train")
    arguments = options(images, labels, "train", tmp_path, "--points-only", "--centre", "box")
    status, _, stderr = run_script("prepare_cpm17.py", *arguments)
    assert (status, stderr) == (0, "")
    coco = json.loads(builtin_paths("cpm17", "train", tmp_path).json_file.read_text())
    assert set(coco["annotations"][0]) == {"id", "image_id", "category_id", "point"}
    assert coco["info"]["centre"] == "box"


def remove(number):
    def spoil(images, labels):
        for folder in (images, labels):
            sorted(folder.iterdir())[number].unlink()

    return spoil


def rename(images, labels):
    for folder in (images, labels):
        path = sorted(folder.iterdir())[0]
        path.rename(path.with_stem("of_my_own"))


def first_label(labels):
    return sorted(labels.iterdir())[0]


def spoil_mat(images, labels):
    path = first_label(labels)
    path.write_bytes(path.read_bytes()[:300])


def spoil_variable(images, labels):
    savemat(first_label(labels), {"instances": instance_map(0)})


def spoil_version(images, labels):
    head = b"MATLAB 7.3 MAT-file".ljust(512, b"\0")
    first_label(labels).write_bytes(head + b"\x89HDF\r\n\x1a\n")


def spoil_size(images, labels):
    savemat(first_label(labels), {"inst_map": instance_map(0)[:-1]})


def spoil_pair(images, labels):
    first_label(labels).unlink()


SPOILED = {
    "split of others": (rename, "not of it: of_my_own.png"),
    "too few": (remove(3), "'s train split of"),
    "damaged": (spoil_mat, "damaged"),
    "no map": (spoil_variable, "has no variable inst_map"),
    "7.3": (spoil_version, "MATLAB 7.3 (HDF5)"),
    "size": (spoil_size, "is 26 x 19 pixels"),
    "no label": (spoil_pair, "no label map of the same name"),
}


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("name", SPOILED)
def test_bad_input_is_one_line(tmp_path, published, run_script, dataset, name):
    spoil, problem = SPOILED[name]
    images, labels = published(dataset, "train")
    spoil(images, labels)
    root = tmp_path / "root"
    status, _, stderr = run_script(f"prepare_{dataset}.py", *options(images, labels, "train", root))
    assert status == 2
    assert stderr.startswith(f"error: {tmp_path}")
    assert problem in stderr
    assert stderr.count("\n") == 1
    assert not builtin_paths(dataset, "train", root).json_file.exists()


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_split_of_ones_own(tmp_path, published, run_script, dataset):
    images, labels = published(dataset, "train")
    rename(images, labels)
    arguments = options(images, labels, "test", tmp_path / "root", "--any-images")
    status, stdout, stderr = run_script(f"prepare_{dataset}.py", *arguments)
    assert (status, stderr) == (0, "")
    assert f"registered as {dataset}_test" in stdout
