"""Dataset dict -> crop: points, noise, stored labels; masks are never read."""

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as mask_util

from selfsam_d2.data.label_store import LabelStore
from selfsam_d2.data.mapper import (
    ImageDatasetMapper,
    PointPromptDatasetMapper,
    annotated_points,
    share_outside,
)
from selfsam_d2.errors import InputError

SIDE = 200


@pytest.fixture
def record(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "slide.png"
    Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(path)
    points = rng.uniform(0, SIDE, (40, 2))
    return {
        "file_name": str(path),
        "image_id": 5,
        "height": SIDE,
        "width": SIDE,
        "position": 3,
        "epoch": 0,
        "annotations": [{"id": 10 + i, "point": point.tolist()} for i, point in enumerate(points)],
    }


def test_what_a_crop_is_made_of(record):
    crop = PointPromptDatasetMapper(crop=96)(record)
    assert crop["image"].shape == (3, 96, 96)
    assert crop["image"].dtype == torch.uint8
    assert crop["context_points"].shape == (40, 2)
    inside = ((crop["context_points"] >= 0) & (crop["context_points"] < 96)).all(dim=1)
    assert torch.equal(crop["points"], crop["context_points"][inside])
    assert 0 < len(crop["points"]) < 40
    assert crop["outside"].dtype == torch.bool


def test_a_crop_depends_on_seed_and_position_only(record):
    first = PointPromptDatasetMapper(crop=96, color=0.1)(record)
    second = PointPromptDatasetMapper(crop=96, color=0.1)(record)
    assert all(
        torch.equal(first[name], second[name])
        for name in ("image", "points", "context_points", "outside")
    )
    moved = PointPromptDatasetMapper(crop=96, color=0.1)({**record, "position": 4})
    assert not torch.equal(first["image"], moved["image"])
    reseeded = PointPromptDatasetMapper(crop=96, color=0.1, seed=1)(record)
    assert not torch.equal(first["image"], reseeded["image"])


def test_noise_is_the_same_in_every_crop(record):
    mapper = PointPromptDatasetMapper(crop=96, shift=8.0)
    exact = np.array([each["point"] for each in record["annotations"]])
    shifted = mapper.points(record)
    distance = np.linalg.norm(shifted - exact, axis=1)
    assert 0 < distance.max() <= 8
    again = PointPromptDatasetMapper(crop=96, shift=8.0, seed=99)
    assert np.array_equal(again.points({**record, "position": 77}), shifted)


def test_masks_are_never_read_in_training(record):
    plain = PointPromptDatasetMapper(crop=96, shift=4.0)(record)
    poisoned = {
        **record,
        "annotations": [
            {**each, "segmentation": "not a mask", "bbox": None} for each in record["annotations"]
        ],
    }
    crop = PointPromptDatasetMapper(crop=96, shift=4.0)(poisoned)
    assert plain.keys() == crop.keys()
    assert all(
        torch.equal(plain[name], crop[name])
        for name in plain
        if isinstance(plain[name], torch.Tensor)
    )


def test_the_inside_law_needs_masks(record):
    with pytest.raises(InputError, match=r"slide\.png.*inside"):
        annotated_points(record, shift=8, law="inside")


def test_an_image_without_points_is_legal(record):
    crop = PointPromptDatasetMapper(crop=96)({**record, "annotations": []})
    assert crop["points"].shape == (0, 2)
    assert crop["context_points"].shape == (0, 2)


def test_a_small_image_is_marked_outside(record):
    crop = PointPromptDatasetMapper(crop=400, scale=(1, 1), shear=0, rotation=0, flip=0)(record)
    outside = crop["outside"]
    assert outside.float().mean().item() == pytest.approx(1 - SIDE**2 / 400**2, abs=1e-6)
    assert not outside[100:300, 100:300].any()


def test_what_was_not_annotated_counts_as_outside(record):
    area = np.zeros((SIDE, SIDE), dtype=np.uint8, order="F")
    area[30:90, 60:] = 1
    rle = mask_util.encode(area)
    crowd = {"id": 99, "iscrowd": 1, "segmentation": {**rle, "counts": rle["counts"].decode()}}
    partly = {**record, "annotations": [*record["annotations"], crowd]}
    still = {"scale": (1, 1), "shear": 0, "rotation": 0, "flip": 0}
    crop = PointPromptDatasetMapper(crop=SIDE, **still)(partly)
    assert np.array_equal(crop["outside"].numpy(), area.astype(bool))
    assert len(crop["points"]) == len(record["annotations"])
    larger = PointPromptDatasetMapper(crop=2 * SIDE, **still)(partly)["outside"].numpy()
    half = SIDE // 2
    assert np.array_equal(larger[half:-half, half:-half], area.astype(bool))
    assert larger.sum() == 3 * SIDE**2 + area.sum()
    # Turned and sheared with the image: what a label map of the area would show.
    mapper, plain = PointPromptDatasetMapper(crop=96), PointPromptDatasetMapper(crop=96)
    turned = mapper(partly)["outside"] & ~plain(record)["outside"]
    image = np.repeat(area[..., None] * 255, 3, axis=2)
    Image.fromarray(image).save(record["file_name"])
    painted = PointPromptDatasetMapper(crop=96)(record)["image"][0] > 127
    assert turned.any()
    assert (turned == painted).float().mean() > 0.97


def test_stored_labels_go_through_the_same_map(record, tmp_path):
    store = LabelStore(tmp_path / "labels")
    labels = np.zeros((SIDE, SIDE), np.int32)
    for index, each in enumerate(record["annotations"]):
        x, y = (int(value) for value in each["point"])
        labels[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3] = index + 1
    labels[:3] = -1
    store.write(record, 0, {"prompt_label": labels, "instance_label": labels})
    store.finish(0)
    crop = PointPromptDatasetMapper(crop=96, store=store)(record)
    found = crop["prompt_label"]
    assert found.shape == (96, 96)
    assert found.min() >= -1
    hits = [int(found[int(y), int(x)]) == k + 1 for k, (x, y) in enumerate(crop["points"].tolist())]
    # A few points lie on the neighbour's label or in the ignored rows.
    assert np.mean(hits) > 0.7
    assert len(hits) > 3


def test_evaluation_reads_the_whole_image_and_no_annotation(record):
    sample = ImageDatasetMapper()(record)
    assert sample["image"].shape == (3, SIDE, SIDE)
    assert "annotations" not in sample
    pixels = np.array(Image.open(record["file_name"]))
    assert np.array_equal(sample["image"].permute(1, 2, 0).numpy(), pixels)


def test_the_share_of_points_outside_their_nucleus(record):
    def square(x, y):
        return [[x - 2, y - 2, x + 2, y - 2, x + 2, y + 2, x - 2, y + 2]]

    centres = [(20.5, 20.5), (60.5, 60.5), (100.5, 100.5), (140.5, 140.5)]
    annotations = [
        {"id": i + 1, "point": list(centre), "segmentation": square(*centre)}
        for i, centre in enumerate(centres)
    ]
    masked = {**record, "annotations": annotations}
    moved = np.add(centres, [[0, 0], [1, 1], [9, 0], [0, -9]])
    assert share_outside([masked], lambda _: moved) == 0.5
    assert share_outside([masked, record], lambda _: moved) is None
    assert share_outside([{**record, "annotations": []}], lambda _: moved[:0]) is None
