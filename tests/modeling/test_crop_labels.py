"""What is shown and stored of a crop is what a training step learns from."""

import numpy as np
import pytest
import torch

import selfsam_d2.modeling.crop_losses as module
from selfsam_d2.modeling.crop_labels import label_crop
from selfsam_d2.modeling.window_labels import label_image

EASY = {"entropy_threshold": 100.0, "voronoi": True, "mask_threshold": 0.3}


@pytest.mark.parametrize(("alpha", "reprompts"), [(0.3, False), (0.3, True), (1.0, True)])
def test_labels_are_those_of_the_training_step(
    build_selfsam, make_crop, monkeypatch, alpha, reprompts
):
    model = build_selfsam(labels=EASY).train()
    model.alpha, model.reprompts = alpha, reprompts
    crop = make_crop(4)
    seen = {}
    for name in ("prompt_loss", "foreground_loss"):
        original = getattr(module, name)

        def spy(logits, labels, name=name, original=original, **options):
            seen[name] = labels
            return original(logits, labels, **options)

        monkeypatch.setattr(module, name, spy)
    model([crop])
    labels = label_crop(model, crop)
    assert model.training
    assert torch.equal(seen["prompt_loss"], labels.prompt.labels)
    assert torch.equal(seen["foreground_loss"], labels.instance.labels)
    assert len(torch.unique(labels.prompt.labels)) > 2
    assert torch.equal(labels.prediction, model.eval().predict_windows(crop["image"][None])[0])


def test_base_masks_are_those_of_the_training_step(build_selfsam, make_crop, monkeypatch):
    model, crop, given, shown = build_selfsam(labels=EASY).train(), make_crop(4), [], []
    original = model.make_prompt_label

    def note(sample, base, adapted):
        given.append(base)
        return original(sample, base, adapted)

    monkeypatch.setattr(model, "make_prompt_label", note)
    for model.reprompts in (False, True):
        model([crop])
        shown += [label_crop(model, crop, all_masks=wanted).base for wanted in (True, False)]
    assert all(torch.allclose(each, given[0], atol=1e-5) for each in shown[:2])
    assert all(torch.allclose(each, given[3], atol=1e-5) for each in shown[2:])
    assert (shown[0] - shown[2]).abs().max() > 1e-3


@pytest.mark.parametrize(("alpha", "calls"), [(0.0, (0, 1)), (0.4, (1, 2)), (1.0, (1, 1))])
def test_masks_without_weight_are_made_only_on_demand(
    build_selfsam, make_crop, monkeypatch, alpha, calls
):
    model = build_selfsam(labels=EASY).eval()
    model.alpha = alpha
    crop = make_crop(4)
    every = label_crop(model, crop)
    counts = []
    for owner, name in ((model.backbone, "forward_both"), (model, "prompt_logits")):
        original = getattr(owner, name)

        def count(*arguments, name=name, original=original):
            counts.append(name)
            return original(*arguments)

        monkeypatch.setattr(owner, name, count)
    needed = label_crop(model, crop, all_masks=False)
    assert (counts.count("forward_both"), counts.count("prompt_logits")) == calls
    assert (needed.base is None, needed.adapted is None) == (alpha == 0, alpha == 1)
    assert torch.equal(needed.prompt.labels, every.prompt.labels)
    assert torch.equal(needed.instance.labels, every.instance.labels)
    assert len(torch.unique(needed.prompt.labels)) > 2


def test_one_window_is_labelled_as_the_crop_with_ids_of_the_image(build_selfsam, make_crop):
    model = build_selfsam(labels=EASY).eval()
    image = make_crop(0)["image"]
    # Shift noise has moved the first one out of the image.
    points = torch.tensor([[-4.0, 3.0], [6.0, 6.0], [15.0, 16.0]])
    maps, statistics = label_image(model, image, points, image_id=3, window=32, overlap=8)
    assert {each.shape for each in maps.values()} == {(32, 32)}
    assert {2, 3} <= set(np.unique(maps["prompt_label"]))
    assert statistics["empty_prompts"] == pytest.approx(1 / 3)
    assert statistics["prompt_ignored"] == (maps["prompt_label"] == -1).mean()
    sample = {"image": image, "points": points[1:], "context_points": points, "image_id": 3}
    expected = label_crop(model, sample).prompt.labels.numpy()
    assert np.array_equal(maps["prompt_label"], np.where(expected > 0, expected + 1, expected))


def test_a_small_image_is_labelled_as_the_mirrored_one(build_selfsam, make_crop):
    model = build_selfsam(labels=EASY).eval()
    image = make_crop(0)["image"][:, :20, :20]
    points = torch.tensor([[6.0, 6.0], [15.0, 16.0]])
    maps, _ = label_image(model, image, points, image_id=3, window=32, overlap=8)
    padded = torch.from_numpy(np.pad(image.numpy(), ((0, 0), (6, 6), (6, 6)), mode="reflect"))
    sample = {"image": padded, "points": points + 6, "context_points": points + 6, "image_id": 3}
    expected = label_crop(model, sample).prompt.raw_ids.numpy()[6:26, 6:26]
    assert np.array_equal(maps["raw_ids"], expected)
    assert {1, 2} <= set(np.unique(expected))


def test_windows_are_joined_at_the_nearest_centre(build_selfsam, make_crop):
    model = build_selfsam(labels=EASY).eval()
    image = torch.cat([make_crop(0, seed)["image"] for seed in (1, 2)], dim=2)[:, :, :56]
    points = torch.tensor([[5.0, 9.0], [27.0, 20.0], [50.0, 12.0]])
    maps, _ = label_image(model, image, points, image_id=3, window=32, overlap=8)
    for left, part in ((0, slice(0, 28)), (24, slice(28, 56))):
        moved = points - torch.tensor([left, 0.0])
        inside = ((moved >= 0) & (moved < 32)).all(dim=1)
        sample = {
            "image": image[:, :, left : left + 32],
            "points": moved[inside],
            "context_points": moved,
            "image_id": 3,
        }
        raw = label_crop(model, sample).prompt.raw_ids
        ids = torch.tensor([0, *(inside.nonzero()[:, 0] + 1).tolist()])[raw].numpy()
        expected = ids[:, part.start - left : part.stop - left]
        assert np.array_equal(maps["raw_ids"][:, part], expected)
    assert {1, 2, 3} <= set(np.unique(maps["raw_ids"]))
