from __future__ import annotations

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model

import selfsam_d2
from selfsam_d2.modeling.crop_labels import label_crop
from selfsam_d2.visualization.crop_view import view_crop

SIDE = 64


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    cfg = get_cfg()
    selfsam_d2.add_selfsam_config(cfg)
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.META_ARCHITECTURE = "SelfSAM"
    cfg.MODEL.BACKBONE.NAME = "SAMAdapterBackbone"
    cfg.MODEL.SAM.INPUT_SIDE = SIDE
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = [123.0, 116.0, 103.0], [58.0, 57.0, 57.0]
    cfg.PSEUDO_LABEL.VORONOI = True
    cfg.PSEUDO_LABEL.ENTROPY_THRESHOLD = 5.0
    return build_model(cfg)


def make_sample(points):
    generator = torch.Generator().manual_seed(1)
    points = torch.tensor(points, dtype=torch.float32).reshape(-1, 2)
    outside = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    outside[:, :9] = True
    return {
        "image": torch.randint(0, 256, (3, SIDE, SIDE), generator=generator, dtype=torch.uint8),
        "points": points,
        "context_points": points,
        "outside": outside,
        "image_id": 1,
    }


def test_view_holds_what_a_training_step_makes(model):
    sample = make_sample([[20.5, 20.5], [50.0, 40.0]])
    model.alpha, model.consensus = 0.5, True
    model.train()
    view = view_crop(model, sample, "crop")
    assert model.training
    labels = label_crop(model, sample)
    outside = sample["outside"].numpy()
    for shown, made in (
        (view.prompt_label, labels.prompt.labels),
        (view.instance_label, labels.instance.labels),
    ):
        np.testing.assert_array_equal(shown[~outside], made.numpy()[~outside])
        assert (shown[outside] == -1).all()
    assert (view.name, view.alpha) == ("crop", 0.5)
    np.testing.assert_array_equal(view.image.transpose(2, 0, 1), sample["image"].numpy())
    np.testing.assert_array_equal(view.points, sample["points"].numpy())
    # Adapters start at zero, so both encoders give the same masks.
    np.testing.assert_allclose(view.base, view.adapted, atol=1e-6)
    assert 0 < view.base.max() <= 1
    assert view.instance_map.dtype == np.int32
    assert ((view.instance_map > 0) <= (view.foreground >= 0)).all()


def test_base_masks_are_those_without_adapters(model):
    sample = make_sample([[20.5, 20.5], [50.0, 40.0]])
    model.alpha, model.consensus = 1.0, False
    before = view_crop(model, sample, "crop")
    adapters = {name: value for name, value in model.named_parameters() if "adapter" in name}
    assert adapters
    saved = {name: value.detach().clone() for name, value in adapters.items()}
    with torch.no_grad():
        for value in adapters.values():
            value.add_(0.1)
        after = view_crop(model, sample, "crop")
        for name, value in adapters.items():
            value.copy_(saved[name])
    np.testing.assert_array_equal(after.base, before.base)
    np.testing.assert_array_equal(after.prompt_label, before.prompt_label)
    assert np.abs(after.adapted - before.adapted).max() > 1e-3


def test_without_consensus_both_labels_agree(model):
    model.alpha, model.consensus = 1.0, False
    view = view_crop(model, make_sample([[30.0, 30.0]]), "crop")
    np.testing.assert_array_equal(view.prompt_label, view.instance_label)


def test_a_crop_without_points_is_background(model):
    model.alpha, model.consensus = 1.0, False
    view = view_crop(model, make_sample([]), "crop")
    assert not view.base.any()
    assert set(np.unique(view.prompt_label)) == {-1, 0}


def test_a_prediction_that_is_not_finite_has_no_nucleus(model):
    model.alpha, model.consensus = 1.0, False
    parameter = next(model.nuclei_head.parameters())
    saved = parameter.detach().clone()
    with torch.no_grad():
        parameter.fill_(float("nan"))
    try:
        view = view_crop(model, make_sample([[30.0, 30.0]]), "crop")
    finally:
        with torch.no_grad():
            parameter.copy_(saved)
    assert np.isnan(view.foreground).any()
    assert not view.instance_map.any()
