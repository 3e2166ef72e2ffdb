"""True map → foreground and HV map → post-processing gives the true map back."""

import numpy as np
import pytest
import torch

from selfsam_d2.losses.hv import hv_map
from selfsam_d2.modeling.postprocess import PostProcessSettings, separate_nuclei
from selfsam_d2.modeling.resize import resize_maps
from selfsam_d2.modeling.sliding_window import predict_by_windows
from selfsam_d2.pseudo_labels.limits import domain_limits
from selfsam_d2.pseudo_labels.prompt_label import make_prompt_label
from selfsam_d2.structures.centre import nucleus_centres

SIDE = 500
CROP = 224


def jaccard_index(true, pred):
    """AJI: each true nucleus with the prediction of largest IoU; unused ones are added."""
    intersection = np.zeros((true.max() + 1, pred.max() + 1))
    np.add.at(intersection, (true, pred), 1)
    true_area, pred_area = intersection.sum(1)[1:, None], intersection.sum(0)[None, 1:]
    intersection = intersection[1:, 1:]
    union = true_area + pred_area - intersection
    best = (intersection / union).argmax(1)
    rows = np.arange(len(best))
    unused = np.setdiff1d(np.arange(pred_area.shape[1]), best)
    return intersection[rows, best].sum() / (union[rows, best].sum() + pred_area[0, unused].sum())


def made_nuclei(seed, count=300):
    """Random ellipses in a box of 500 px; a later one takes what an earlier one left free."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    instance_map = np.zeros((SIDE, SIDE), np.int32)
    placed = 0
    while placed < count:
        cx, cy = generator.uniform(0, SIDE, 2)
        long, angle = generator.uniform(7, 14), generator.uniform(0, np.pi)
        short = long * generator.uniform(0.6, 1)
        u = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
        v = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
        ellipse = (u / long) ** 2 + (v / short) ** 2 <= 1
        free = ellipse & (instance_map == 0)
        # Nuclei touch and overlap a little; a sliver of one is not a nucleus.
        if free.sum() >= 0.8 * ellipse.sum() and ellipse.sum() >= 40:
            placed += 1
            instance_map[free] = placed
    return instance_map


def touching_share(instance_map):
    """Share of nuclei with a pixel beside a pixel of another one."""
    touching = set()
    for a, b in (
        (instance_map[1:], instance_map[:-1]),
        (instance_map[:, 1:], instance_map[:, :-1]),
    ):
        border = (a > 0) & (b > 0) & (a != b)
        touching |= set(a[border]) | set(b[border])
    return len(touching) / instance_map.max()


@pytest.fixture(scope="module", params=[0, 1])
def nuclei(request):
    return made_nuclei(request.param)


def true_maps(instance_map):
    truth = torch.from_numpy(instance_map)
    return torch.cat([(truth > 0).float()[None], hv_map(truth)])


def test_made_nuclei_touch(nuclei):
    assert nuclei.max() == 300
    assert touching_share(nuclei) > 0.5


def test_true_maps_come_back(nuclei):
    maps = true_maps(nuclei).numpy()
    found = separate_nuclei(maps[0], maps[1:], PostProcessSettings())
    assert jaccard_index(nuclei, found) >= 0.97


@pytest.mark.parametrize(("side", "least"), [(448, 0.96), (512, 0.97)])
def test_true_maps_come_back_from_the_resolution_of_the_logits(nuclei, side, least):
    def through_logits(windows):
        low_res = resize_maps(windows, (side // 4, side // 4))
        return resize_maps(low_res, windows.shape[-2:])

    maps = predict_by_windows(true_maps(nuclei), through_logits, CROP, 80).numpy()
    settings = PostProcessSettings(foreground_threshold=0.5)
    assert jaccard_index(nuclei, separate_nuclei(maps[0], maps[1:], settings)) >= least


def test_a_shift_of_one_pixel_would_be_seen(nuclei):
    maps = np.roll(true_maps(nuclei).numpy(), 1, axis=2)
    found = separate_nuclei(maps[0], maps[1:], PostProcessSettings())
    assert jaccard_index(nuclei, found) < 0.9


def test_true_points_and_foreground_nearly_give_the_map(nuclei):
    crop = nuclei[:CROP, :CROP]
    crop = np.unique(crop, return_inverse=True)[1].reshape(crop.shape)
    points = torch.from_numpy(nucleus_centres(crop)[1]).float()
    foreground = torch.from_numpy(crop > 0)
    limits = domain_limits(points, points, (CROP, CROP), voronoi=True)
    targets = (foreground & limits).float()
    found = make_prompt_label(targets).labels.numpy()
    assert (found >= 0).all()
    assert jaccard_index(crop, found) >= 0.9
    # Ids are those of the points, so most pixels agree one by one.
    assert (found == crop).mean() > 0.97
