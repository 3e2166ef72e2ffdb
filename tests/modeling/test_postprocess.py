"""Post-processing: what it keeps, drops and splits, and how it takes bad input."""

import numpy as np
import pytest
import torch

from selfsam_d2.errors import InputError
from selfsam_d2.losses.hv import hv_map
from selfsam_d2.modeling.postprocess import PostProcessSettings, separate_nuclei

DEFAULTS = PostProcessSettings()


def discs(centres, radius, size=(80, 100)):
    """Instance map of discs; a pixel belongs to the nearest centre, so that they touch."""
    y, x = np.mgrid[: size[0], : size[1]]
    distances = np.stack([np.hypot(x - cx, y - cy) for cx, cy in centres])
    return np.where(distances.min(0) <= radius, distances.argmin(0) + 1, 0).astype(np.int32)


def true_maps(instance_map):
    foreground = (instance_map > 0).astype(np.float32)
    return foreground, hv_map(torch.from_numpy(instance_map)).numpy()


def same_partition(first, second):
    pairs = set(zip(first.ravel().tolist(), second.ravel().tolist(), strict=True))
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def test_touching_discs_are_separated():
    truth = discs([(20, 30), (38, 30), (56, 31), (80, 60)], 10)
    found = separate_nuclei(*true_maps(truth), DEFAULTS)
    assert found.dtype == np.int32
    assert sorted(np.unique(found)) == [0, 1, 2, 3, 4]
    assert np.array_equal(found > 0, truth > 0)
    wrong = sum(
        (truth == k).sum() - np.bincount(found[truth == k]).max() for k in np.unique(truth)[1:]
    )
    assert wrong <= 0.02 * (truth > 0).sum()


def test_x_and_y_are_told_apart():
    # Side by side: only the x map falls at the borders. Swapped maps cut elsewhere.
    foreground, hv = true_maps(discs([(30, 40), (46, 40), (62, 40)], 10))
    assert separate_nuclei(foreground, hv, DEFAULTS).max() == 3
    assert separate_nuclei(foreground, hv[::-1], DEFAULTS).max() != 3


def test_the_result_turns_with_the_image():
    truth = discs([(20, 30), (38, 30), (56, 33), (80, 60)], 10)
    upright = separate_nuclei(*true_maps(truth), DEFAULTS)
    turned = separate_nuclei(*true_maps(np.ascontiguousarray(truth.T)), DEFAULTS)
    assert same_partition(upright > 0, turned.T > 0)
    assert (upright.max(), turned.max()) == (4, 4)


def test_the_scale_of_the_hv_map_does_not_matter():
    foreground, hv = true_maps(discs([(20, 30), (38, 30), (80, 60)], 10))
    scaled = hv * np.array([0.3, 5.0], dtype=np.float32)[:, None, None]
    assert np.array_equal(
        separate_nuclei(foreground, hv, DEFAULTS), separate_nuclei(foreground, scaled, DEFAULTS)
    )


@pytest.mark.parametrize("constant", [0.0, 0.7])
@pytest.mark.filterwarnings("error")
def test_constant_hv_maps_leave_connected_objects(constant):
    truth = discs([(20, 30), (38, 30), (80, 60)], 10)
    foreground, hv = true_maps(truth)
    found = separate_nuclei(foreground, np.full_like(hv, constant), DEFAULTS)
    assert same_partition(found, np.where(truth == 2, 1, truth))


@pytest.mark.filterwarnings("error")
def test_empty_foreground():
    found = separate_nuclei(np.zeros((30, 20), np.float32), np.zeros((2, 30, 20)), DEFAULTS)
    assert found.shape == (30, 20)
    assert found.dtype == np.int32
    assert not found.any()


def test_an_object_without_a_marker_stays_one_nucleus():
    truth = discs([(20, 30), (38, 30)], 10)
    truth[60:62, 10:50] = 3  # too narrow for any marker to survive the opening
    found = separate_nuclei(*true_maps(truth), PostProcessSettings(marker_opening=5))
    thin = np.unique(found[truth == 3])
    assert len(thin) == 1
    assert thin[0] > 0
    assert np.array_equal(found == thin[0], truth == 3)
    assert found.max() == 3


def test_threshold_is_inclusive_and_small_objects_go():
    foreground = np.zeros((40, 60), np.float32)
    foreground[5:10, 5:9] = 0.7  # 20 px²
    foreground[20:29, 20:22] = 1.0  # 18 px²
    foreground[5:15, 40:50] = 0.69
    hv = np.zeros((2, 40, 60), np.float32)
    found = separate_nuclei(foreground, hv, DEFAULTS)
    assert found.max() == 1
    assert np.array_equal(found > 0, foreground == np.float32(0.7))
    lower = separate_nuclei(
        foreground, hv, PostProcessSettings(foreground_threshold=0.6, min_object_area=18)
    )
    assert np.array_equal(lower > 0, foreground > 0)


def test_holes_are_filled():
    truth = discs([(30, 30)], 12)
    foreground, hv = true_maps(truth)
    foreground[28:32, 28:32] = 0
    assert np.array_equal(separate_nuclei(foreground, hv, DEFAULTS) > 0, truth > 0)


def test_parts_that_touch_at_a_corner_are_two():
    foreground = np.zeros((40, 40), np.float32)
    foreground[5:15, 5:15] = foreground[15:25, 15:25] = 1
    found = separate_nuclei(foreground, np.zeros((2, 40, 40)), DEFAULTS)
    assert found.max() == 2


def test_ids_have_no_gaps_and_inputs_are_left_alone():
    generator = np.random.default_rng(0)
    foreground = generator.random((60, 60)).astype(np.float32)
    hv = generator.normal(size=(2, 60, 60)).astype(np.float32)
    before = foreground.copy(), hv.copy()
    settings = PostProcessSettings(foreground_threshold=0.4, min_object_area=0, min_marker_area=0)
    found = separate_nuclei(foreground, hv, settings)
    assert np.array_equal(np.unique(found), np.arange(found.max() + 1))
    assert found.max() > 5
    assert np.array_equal(foreground, before[0])
    assert np.array_equal(hv, before[1])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("foreground_threshold", 0.0),
        ("foreground_threshold", 1.1),
        ("marker_threshold", -0.1),
        ("min_object_area", -1),
        ("min_marker_area", -1),
        ("sobel_kernel", 4),
        ("sobel_kernel", 33),
        ("marker_opening", 0),
        ("smoothing_kernel", 2),
    ],
)
def test_settings_out_of_range_are_named(name, value):
    with pytest.raises(InputError, match=rf"^{name}: .*{value}"):
        PostProcessSettings(**{name: value})


def test_maps_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="foreground"):
        separate_nuclei(np.zeros((1, 4, 4)), np.zeros((2, 4, 4)), DEFAULTS)
    with pytest.raises(ValueError, match="foreground"):
        separate_nuclei(np.zeros((0, 4)), np.zeros((2, 0, 4)), DEFAULTS)
    with pytest.raises(ValueError, match="hv"):
        separate_nuclei(np.zeros((4, 4)), np.zeros((4, 4, 2)), DEFAULTS)
    with pytest.raises(ValueError, match="`hv` to be finite"):
        separate_nuclei(np.zeros((4, 4)), np.full((2, 4, 4), np.nan), DEFAULTS)
