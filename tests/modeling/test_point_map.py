"""The map of points as a fourth output: off by default, trained, and used for the markers."""

import numpy as np
import pytest
import torch

from selfsam_d2.errors import InputError
from selfsam_d2.modeling.crop_losses import LOSS_NAMES, POINT_LOSS
from selfsam_d2.modeling.inference import NucleiInference
from selfsam_d2.modeling.nuclei_head import SAMNucleiHead
from selfsam_d2.modeling.postprocess import PostProcessSettings, separate_nuclei
from selfsam_d2.modeling.symmetries import average_over_symmetries


@pytest.fixture
def with_points(build_selfsam):
    """A SelfSAM whose head has a point map."""
    model = build_selfsam()
    torch.manual_seed(0)
    model.nuclei_head = SAMNucleiHead(point_map=True)
    model.loss_weights[POINT_LOSS] = 2.0
    return model


def test_it_is_trained_and_predicted_only_where_it_is_there(with_points, build_selfsam, make_crop):
    crop = make_crop(4)
    assert tuple(build_selfsam().train()([crop])) == LOSS_NAMES
    losses = with_points.train()([crop])
    assert set(losses) == {*LOSS_NAMES, POINT_LOSS}
    losses[POINT_LOSS].backward()
    grad = with_points.nuclei_head.output_tokens.weight.grad
    assert (grad[3] != 0).any()
    maps = with_points.eval().predict_windows(crop["image"][None])
    assert maps.shape == (1, 4, 32, 32)
    assert 0 <= maps[:, 3].min() <= maps[:, 3].max() <= 1
    with_points.loss_weights[POINT_LOSS] = 4.0
    twice = with_points.train()([crop])[POINT_LOSS]
    assert twice.item() == pytest.approx(2 * losses[POINT_LOSS].item(), rel=1e-4)


def test_the_whole_prediction_uses_it(with_points, make_crop):
    image = make_crop(3)["image"]
    (output,) = with_points.eval()([{"image": image}])
    assert output["instance_map"].shape == (32, 32)


def test_sam_fills_all_tokens():
    head = SAMNucleiHead(point_map=True)
    tokens = torch.randn(4, 256)
    state = {
        "mask_decoder.mask_tokens.weight": tokens,
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix": torch.zeros(2, 128),
        "prompt_encoder.no_mask_embed.weight": torch.zeros(1, 256),
    }
    assert torch.equal(head.from_sam_keys(state)["output_tokens.weight"], tokens)
    assert torch.equal(SAMNucleiHead().from_sam_keys(state)["output_tokens.weight"], tokens[:3])


def test_peaks_part_what_the_hv_map_does_not():
    foreground = np.zeros((30, 60), dtype=np.float32)
    foreground[8:22, 10:50] = 1
    foreground[2:5, 52:58] = 1  # an object of its own, without a peak
    flat = np.zeros((2, 30, 60), dtype=np.float32)
    settings = PostProcessSettings(min_object_area=10)
    assert separate_nuclei(foreground, flat, settings).max() == 2
    points = np.zeros_like(foreground)
    points[15, 20], points[15, 40], points[15, 30], points[2, 10] = 0.9, 0.6, 0.2, 0.9
    found = separate_nuclei(foreground, flat, settings, points)
    assert found.max() == 3
    assert len({found[15, 20], found[15, 40], found[3, 55]}) == 3
    assert ((found > 0) == (foreground > 0)).all()
    sure = PostProcessSettings(min_object_area=10, peak_threshold=0.7)
    assert separate_nuclei(foreground, flat, sure, points).max() == 2
    points[15, 22] = 0.8
    assert separate_nuclei(foreground, flat, settings, points).max() == 3  # too near to count
    near = PostProcessSettings(min_object_area=10, peak_distance=1)
    assert separate_nuclei(foreground, flat, near, points).max() == 4


def test_settings_out_of_range_are_refused():
    with pytest.raises(InputError, match=r"peak_threshold: expected a number from 0 to 1"):
        PostProcessSettings(peak_threshold=1.5)
    with pytest.raises(InputError, match=r"peak_distance: expected a number of at least 1"):
        PostProcessSettings(peak_distance=0)


def test_it_has_no_direction_under_flips_and_turns():
    image = torch.arange(12.0).reshape(1, 3, 4).expand(3, -1, -1)

    def predict(turned):
        return torch.cat([turned[:1], torch.zeros(2, *turned.shape[1:]), turned[:1]])

    found = average_over_symmetries(predict, image, 8)
    assert torch.allclose(found[3], image[0])
    assert NucleiInference(symmetries=8).symmetries == 8
