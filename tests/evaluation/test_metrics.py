"""Every metric against a plain loop written from its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from selfsam_d2.evaluation.metrics import (
    METRIC_NAMES,
    aggregated_jaccard_index,
    aggregated_jaccard_index_fast,
    aggregated_jaccard_index_plus,
    dice_coefficient,
    f1_score,
    nuclei_metrics,
    object_dice,
    panoptic_quality,
)
from tests.evaluation.loops import (
    TOLERANCE,
    components_of,
    nuclei_of,
    pairs_of_maps,
    reference_aji,
    reference_aji_fast,
    reference_aji_plus,
    reference_dice,
    reference_f1,
    reference_object_dice,
    reference_panoptic,
)


@settings(deadline=None, max_examples=150)
@given(pairs_of_maps())
def test_all_metrics_agree_with_loops(maps):
    true, pred = nuclei_of(maps[0]), nuclei_of(maps[1])
    if not true or not pred:
        expected = math.nan if not true and not pred else 0.0
        assert all(
            value == pytest.approx(expected, nan_ok=True)
            for value in nuclei_metrics(*maps).values()
        )
        return
    detection, segmentation, panoptic = reference_panoptic(true, pred)
    expected = {
        "Dice": reference_dice(true, pred),
        "AJI": reference_aji(true, pred),
        "AJI_fast": reference_aji_fast(components_of(maps[0]), components_of(maps[1])),
        "object_Dice": reference_object_dice(true, pred),
        "DQ": detection,
        "SQ": segmentation,
        "PQ": panoptic,
        "F1": reference_f1(true, pred),
    }
    values = nuclei_metrics(*maps)
    assert tuple(values) == METRIC_NAMES
    assert all(type(value) is float for value in values.values())
    plus = values.pop("AJI_plus")
    assert values == pytest.approx(expected, rel=0, abs=TOLERANCE)
    assert 0 <= plus <= 1


@settings(deadline=None, max_examples=60)
@given(pairs_of_maps(max_ids=4))
def test_aji_plus_is_that_of_a_best_assignment(maps):
    true, pred = nuclei_of(maps[0]), nuclei_of(maps[1])
    if not true or not pred:
        return
    value = aggregated_jaccard_index_plus(*maps)
    assert min(abs(value - best) for best in reference_aji_plus(true, pred)) <= TOLERANCE


@settings(deadline=None, max_examples=40)
@given(pairs_of_maps())
def test_functions_are_the_entries_of_the_dict(maps):
    detection, segmentation, panoptic = panoptic_quality(*maps)
    values = {
        "Dice": dice_coefficient(*maps),
        "AJI": aggregated_jaccard_index(*maps),
        "AJI_plus": aggregated_jaccard_index_plus(*maps),
        "AJI_fast": aggregated_jaccard_index_fast(*maps),
        "object_Dice": object_dice(*maps),
        "DQ": detection,
        "SQ": segmentation,
        "PQ": panoptic,
        "F1": f1_score(*maps),
    }
    assert values == pytest.approx(nuclei_metrics(*maps), nan_ok=True)


@settings(deadline=None, max_examples=40)
@given(arrays(np.int32, (6, 7), elements=st.sampled_from([0, 4, 9, 1000])))
def test_a_perfect_prediction_scores_one_whatever_its_ids(true):
    renumbered = np.where(true > 0, 5000 - true, 0)
    expected = 1.0 if true.any() else math.nan
    for value in nuclei_metrics(true, renumbered).values():
        assert value == pytest.approx(expected, nan_ok=True)


SYMMETRIC = ("Dice", "object_Dice", "DQ", "SQ", "PQ", "F1")


@settings(deadline=None, max_examples=80)
@given(pairs_of_maps(max_ids=4))
def test_metrics_stay_when_truth_and_prediction_are_exchanged(maps):
    there, back = nuclei_metrics(*maps), nuclei_metrics(*maps[::-1])
    assert {*METRIC_NAMES} - {*SYMMETRIC} == {"AJI", "AJI_plus", "AJI_fast"}
    for name in SYMMETRIC:
        assert there[name] == pytest.approx(back[name], abs=TOLERANCE, nan_ok=True)
    true, pred = nuclei_of(maps[0]), nuclei_of(maps[1])
    if true and pred:  # of several best assignments each way may take another
        bests = reference_aji_plus(true, pred)
        assert min(abs(back["AJI_plus"] - best) for best in bests) <= TOLERANCE


def test_aji_is_not_symmetric():
    whole, parts = np.array([[1, 1, 1, 1]]), np.array([[1, 1, 2, 2]])
    # One nucleus uses one of its halves, and the other counts; each half uses the whole.
    assert aggregated_jaccard_index(whole, parts) == pytest.approx(2 / 6)
    assert aggregated_jaccard_index(parts, whole) == pytest.approx(4 / 8)


def test_empty_images():
    empty = np.zeros((4, 5), dtype=np.int32)
    full = np.ones((4, 5), dtype=np.int32)
    assert all(math.isnan(value) for value in nuclei_metrics(empty, empty).values())
    assert set(nuclei_metrics(full, empty).values()) == {0.0}
    assert set(nuclei_metrics(empty, full).values()) == {0.0}


def test_a_map_without_background():
    assert set(nuclei_metrics(np.full((3, 3), 8), np.full((3, 3), 2)).values()) == {1.0}


def test_aji_by_hand():
    # True: A (4 px), B (2 px), C (1 px). Prediction 5 covers A and B; 6 lies on background.
    true = np.array([[1, 1, 1, 1, 3, 3, 0, 0, 7]])
    pred = np.array([[5, 5, 5, 5, 5, 5, 0, 6, 0]])
    # AJI: 5 serves A (4 / 6) and B (2 / 6); C is missed (1), 6 is unused (1).
    assert aggregated_jaccard_index(true, pred) == pytest.approx(6 / 14)
    # AJI+: 5 serves A only; B, C and 6 add 2 + 1 + 1.
    assert aggregated_jaccard_index_plus(true, pred) == pytest.approx(4 / 10)
    # AJI_fast: C unites with prediction 5 (1 + 6), 6 is unused.
    assert aggregated_jaccard_index_fast(true, pred) == pytest.approx(6 / 20)
    # One pair of IoU 4 / 6 among 3 true and 2 predicted nuclei.
    assert panoptic_quality(true, pred) == pytest.approx((2 / 5, 4 / 6, 2 / 5 * 4 / 6))


def test_iou_of_exactly_one_half_is_no_match():
    true = np.array([[1, 1, 1, 1, 0, 0]])
    pred = np.array([[0, 0, 2, 2, 0, 0]])
    assert panoptic_quality(true, pred) == (0.0, 0.0, 0.0)
    assert f1_score(true, pred) == 0.0


def test_only_aji_fast_splits_a_nucleus_of_two_parts():
    true = np.array([[3, 3, 0, 3, 3, 3]])
    pred = np.array([[1, 1, 0, 2, 2, 2]])
    assert aggregated_jaccard_index_fast(true, pred) == 1.0
    assert aggregated_jaccard_index(true, pred) == pytest.approx(3 / 7)


@pytest.mark.parametrize(
    ("true", "pred", "message"),
    [
        (np.array([[0, -1]]), np.array([[0, 1]]), "`true` to have no negative id, but got -1"),
        (np.array([[0, 1]]), np.array([[0, -7]]), "`pred` to have no negative id, but got -7"),
        (np.array([[0, 1]]), np.array([[0], [1]]), r"one size, but got true \(1, 2\)"),
        (np.array([[0.0, 1.0]]), np.array([[0, 1]]), "`true` to be .* integers"),
        (np.array([[0, 1]]), np.array([0, 1]), r"`pred` to be \(H, W\) integers"),
    ],
)
@pytest.mark.parametrize("function", [nuclei_metrics, aggregated_jaccard_index_fast])
def test_maps_that_cannot_be_compared(function, true, pred, message):
    with pytest.raises(ValueError, match=message):
        function(true, pred)
