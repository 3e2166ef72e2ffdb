"""The metrics as loops over nuclei, from their definitions: what the table of overlaps replaces.

Pairs that overlap are compared inside their boxes, not on the whole image.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from skimage.measure import label

__all__ = ["plain_metrics"]

Map = NDArray[np.int32]
Box = tuple[slice, slice]


class Nuclei:
    """The boxes and areas of an instance map.

    Args:
        instance_map: (H, W).
        keep_pairs: keep the overlaps that were found for the next metric.
    """

    def __init__(self, instance_map: Map, keep_pairs: bool = False) -> None:
        self.map = instance_map
        self.areas = np.bincount(instance_map.ravel())
        self.keep_pairs = keep_pairs
        self.kept: dict[tuple[int, int], list[tuple[int, int, int]]] = {}
        found = ndimage.find_objects(instance_map)
        self.boxes: dict[int, Box] = {i: box for i, box in enumerate(found, 1) if box is not None}

    def area(self, number: int) -> int:
        """Pixels of a nucleus."""
        return int(self.areas[number])

    def partners(self, number: int, other: Nuclei) -> list[tuple[int, int, int]]:
        """(number, intersection, union) for each nucleus of the other map that overlaps one."""
        if (number, id(other)) in self.kept:
            return self.kept[number, id(other)]
        box = self.boxes[number]
        mask = self.map[box] == number
        area = self.area(number)
        beside = other.map[box]
        found = []
        for partner in np.unique(beside[mask]):
            if partner:
                common = int((mask & (beside == partner)).sum())
                found.append((int(partner), common, area + other.area(partner) - common))
        if self.keep_pairs:
            self.kept[number, id(other)] = found
        return found


def plain_metrics(true_map: Map, pred_map: Map, keep_pairs: bool = False) -> dict[str, float]:
    """Every metric of the package, both maps hold nuclei.

    Args:
        true_map: (H, W).
        pred_map: (H, W).
        keep_pairs: find the overlaps once for all metrics; else each metric is a loop of its own.
    """
    true, pred = Nuclei(true_map, keep_pairs), Nuclei(pred_map, keep_pairs)
    detection, segmentation = _panoptic(true, pred)
    return {
        "Dice": _dice(true_map > 0, pred_map > 0),
        "AJI": _aji(true, pred),
        "AJI_plus": _aji_plus(true, pred),
        "AJI_fast": _aji(
            Nuclei(label(true_map, connectivity=2), keep_pairs),
            Nuclei(label(pred_map, connectivity=2), keep_pairs),
            unmatched_takes_first=True,
        ),
        "object_Dice": (_object_dice(true, pred) + _object_dice(pred, true)) / 2,
        "DQ": detection,
        "SQ": segmentation,
        "PQ": detection * segmentation,
        "F1": _f1(true, pred),
    }


def _dice(true: NDArray[np.bool_], pred: NDArray[np.bool_]) -> float:
    return float(2 * (true & pred).sum() / (true.sum() + pred.sum()))


def _aji(true: Nuclei, pred: Nuclei, unmatched_takes_first: bool = False) -> float:
    common = union = 0
    used = set()
    for number in true.boxes:
        partners = true.partners(number, pred)
        if not partners and unmatched_takes_first:
            partners = [(1, 0, true.area(number) + pred.area(1))]
        if not partners:
            union += true.area(number)
            continue
        best = max(partners, key=lambda each: each[1] / each[2])
        common += best[1]
        union += best[2]
        used.add(best[0])
    union += sum(pred.area(number) for number in pred.boxes if number not in used)
    return common / union


def _aji_plus(true: Nuclei, pred: Nuclei) -> float:
    rows = {number: row for row, number in enumerate(true.boxes)}
    columns = {number: column for column, number in enumerate(pred.boxes)}
    ious = np.zeros((len(rows), len(columns)))
    pairs = {}
    for number, row in rows.items():
        for partner, common, union in true.partners(number, pred):
            ious[row, columns[partner]] = common / union
            pairs[row, columns[partner]] = common, union
    chosen = [
        pair for pair in zip(*linear_sum_assignment(ious, maximize=True), strict=True) if ious[pair]
    ]
    total = sum(pairs[pair][1] for pair in chosen)
    taken_rows, taken_columns = ({pair[axis] for pair in chosen} for axis in (0, 1))
    total += sum(true.area(number) for number, row in rows.items() if row not in taken_rows)
    total += sum(
        pred.area(number) for number, column in columns.items() if column not in taken_columns
    )
    return sum(pairs[pair][0] for pair in chosen) / total


def _object_dice(own: Nuclei, other: Nuclei) -> float:
    total = sum(own.area(number) for number in own.boxes)
    value = 0.0
    for number in own.boxes:
        partners = own.partners(number, other)
        if partners:
            partner, common, _ = max(partners, key=lambda each: each[1])
            area = own.area(number)
            value += area / total * 2 * common / (area + other.area(partner))
    return value


def _matched_ious(true: Nuclei, pred: Nuclei) -> list[float]:
    return [
        common / union
        for number in true.boxes
        for _, common, union in true.partners(number, pred)
        if common / union > 0.5
    ]


def _panoptic(true: Nuclei, pred: Nuclei) -> tuple[float, float]:
    matched = _matched_ious(true, pred)
    detection = 2 * len(matched) / (len(true.boxes) + len(pred.boxes))
    return detection, float(np.mean(matched)) if matched else 0.0


def _f1(true: Nuclei, pred: Nuclei) -> float:
    matched = len(_matched_ious(true, pred))
    precision, recall = matched / len(pred.boxes), matched / len(true.boxes)
    return 2 * precision * recall / (precision + recall) if matched else 0.0
