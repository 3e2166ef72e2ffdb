"""Kinds of errors against a loop over masks, written from the definitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from selfsam_d2.evaluation.error_kinds import classify_nuclei
from selfsam_d2.evaluation.metrics import f1_score


def kinds_by_loop(true: Any, pred: Any) -> tuple[dict[int, str], dict[int, str]]:
    trues = {number: true == number for number in np.unique(true) if number > 0}
    preds = {number: pred == number for number in np.unique(pred) if number > 0}

    def pair(a: Any, b: Any) -> bool:
        return (a & b).sum() > 0.5 * (a | b).sum()

    def holds(holder: Any, held: Any) -> bool:
        return (holder & held).sum() > 0.5 * held.sum()

    def kind(own: Any, others: dict[int, Any], siblings: dict[int, Any], names: Any) -> str:
        if any(pair(own, other) for other in others.values()):
            return "found"
        held_by = [other for other in others.values() if holds(other, own)]
        together = any(
            sum(holds(holder, sibling) for sibling in siblings.values()) >= 2 for holder in held_by
        )
        several = sum(holds(own, other) for other in others.values()) >= 2
        merged, split = (together, several) if names == "true" else (several, together)
        if merged:
            return "merged"
        if split:
            return "split"
        return "missed" if names == "true" else "spurious"

    return (
        {number: kind(mask, preds, trues, "true") for number, mask in trues.items()},
        {number: kind(mask, trues, preds, "pred") for number, mask in preds.items()},
    )


def boxes(*given: tuple[int, int, int, int, int]) -> Any:
    """(id, row, column, height, width) on 30 x 30 pixels."""
    drawn = np.zeros((30, 30), dtype=np.int32)
    for number, row, column, height, width in given:
        drawn[row : row + height, column : column + width] = number
    return drawn


def test_each_kind_on_a_drawn_example() -> None:
    true = boxes(
        *((3, 0, 0, 6, 6), (5, 0, 10, 6, 6), (6, 0, 16, 6, 6), (8, 10, 0, 8, 8)),
        *((9, 10, 20, 6, 6), (11, 20, 0, 8, 8), (12, 20, 8, 2, 2), (14, 20, 20, 8, 8)),
    )
    pred = boxes(
        (1, 0, 1, 6, 6),  # 3 by a pixel off
        (2, 0, 10, 6, 12),  # 5 and 6 in one
        *((4, 10, 0, 4, 8), (7, 14, 0, 4, 8)),  # 8 in two halves
        (10, 10, 14, 6, 5),  # beside 9
        (13, 20, 0, 8, 10),  # 11, and the small 12 with it
        *((20, 20, 20, 6, 8), (21, 26, 20, 2, 8)),  # 14, and a piece of it left over
    )
    kinds = classify_nuclei(true, pred)
    assert kinds.true == {
        **{3: "found", 5: "merged", 6: "merged", 8: "split"},
        **{9: "missed", 11: "found", 12: "merged", 14: "found"},
    }
    assert kinds.pred == {
        **{1: "found", 2: "merged", 4: "split", 7: "split"},
        **{10: "spurious", 13: "found", 20: "found", 21: "split"},
    }
    assert kinds.counts() == {"found": 3, "missed": 1, "merged": 3, "split": 1, "spurious": 1}


@pytest.mark.parametrize("seed", range(40))
def test_as_the_loop_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    maps = []
    for _ in range(2):
        drawn = np.zeros((24, 24), dtype=np.int32)
        for number in rng.permutation(40)[: rng.integers(0, 14)] + 1:
            row, column = rng.integers(0, 20, 2)
            height, width = rng.integers(1, 12, 2)
            drawn[row : row + height, column : column + width] = number
        maps.append(drawn)
    kinds = classify_nuclei(*maps)
    assert (kinds.true, kinds.pred) == kinds_by_loop(*maps)
    found = sum(kind == "found" for kind in kinds.true.values())
    assert found == sum(kind == "found" for kind in kinds.pred.values())
    total = len(kinds.true) + len(kinds.pred)
    if total:
        assert 2 * found / total == pytest.approx(f1_score(*maps))


def test_exactly_half_is_no_majority() -> None:
    true, pred = boxes((1, 0, 0, 4, 4)), boxes((1, 0, 0, 4, 2), (2, 10, 10, 2, 2))
    kinds = classify_nuclei(true, pred)
    assert (kinds.true, kinds.pred) == ({1: "missed"}, {1: "spurious", 2: "spurious"})


def test_empty_maps_and_wrong_ones() -> None:
    empty = boxes()
    assert classify_nuclei(empty, empty).counts() == dict.fromkeys(
        ("found", "missed", "merged", "split", "spurious"), 0
    )
    assert classify_nuclei(boxes((7, 0, 0, 2, 2)), empty).true == {7: "missed"}
    with pytest.raises(ValueError, match="one size"):
        classify_nuclei(empty, np.zeros((2, 2), np.int32))
