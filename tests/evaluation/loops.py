"""Loops written from the definitions of the metrics, and maps to try them on."""

from __future__ import annotations

import itertools
import math

import numpy as np
from hypothesis import strategies as st

TOLERANCE = 1e-9

Nuclei = list[set[tuple[int, int]]]


def nuclei_of(instance_map: np.ndarray) -> Nuclei:
    """The pixels of each nucleus, in the order of the ids."""
    found: dict[int, set[tuple[int, int]]] = {}
    for pixel in np.ndindex(instance_map.shape):
        value = int(instance_map[pixel])
        if value:
            found.setdefault(value, set()).add(pixel)
    return [found[value] for value in sorted(found)]


def components_of(instance_map: np.ndarray) -> Nuclei:
    """Components of equal id under 8 neighbours, in reading order, by flood fill."""
    seen: set[tuple[int, int]] = set()
    components: Nuclei = []
    for start in np.ndindex(instance_map.shape):
        if not instance_map[start] or start in seen:
            continue
        component, open_pixels = {start}, [start]
        while open_pixels:
            row, column = open_pixels.pop()
            for step in itertools.product((-1, 0, 1), repeat=2):
                near = (row + step[0], column + step[1])
                inside = all(0 <= near[axis] < instance_map.shape[axis] for axis in (0, 1))
                if not inside or near in component:
                    continue
                if instance_map[near] == instance_map[start]:
                    component.add(near)
                    open_pixels.append(near)
        seen |= component
        components.append(component)
    return components


def iou(first: set, second: set) -> float:
    return len(first & second) / len(first | second)


def reference_dice(true: Nuclei, pred: Nuclei) -> float:
    foreground_true = set().union(*true)
    foreground_pred = set().union(*pred)
    both = foreground_true & foreground_pred
    return 2 * len(both) / (len(foreground_true) + len(foreground_pred))


def reference_object_dice(true: Nuclei, pred: Nuclei) -> float:
    def half(own: Nuclei, other: Nuclei) -> float:
        total = sum(len(nucleus) for nucleus in own)
        value = 0.0
        for nucleus in own:
            partner: set = set()
            for candidate in other:
                if len(nucleus & candidate) > len(nucleus & partner):
                    partner = candidate
            dice = 2 * len(nucleus & partner) / (len(nucleus) + len(partner))
            value += len(nucleus) / total * dice
        return value

    return (half(true, pred) + half(pred, true)) / 2


def reference_aji(true: Nuclei, pred: Nuclei) -> float:
    common, united, used = 0, 0, set()
    for nucleus in true:
        best, best_iou = None, 0.0
        for index, candidate in enumerate(pred):
            if iou(nucleus, candidate) > best_iou:
                best, best_iou = index, iou(nucleus, candidate)
        if best is None:
            united += len(nucleus)
        else:
            common += len(nucleus & pred[best])
            united += len(nucleus | pred[best])
            used.add(best)
    united += sum(len(nucleus) for index, nucleus in enumerate(pred) if index not in used)
    return common / united


def reference_aji_fast(true: Nuclei, pred: Nuclei) -> float:
    common, united, used = 0, 0, set()
    for nucleus in true:
        best = 0
        for index, candidate in enumerate(pred):
            if iou(nucleus, candidate) > iou(nucleus, pred[best]):
                best = index
        common += len(nucleus & pred[best])
        united += len(nucleus | pred[best])
        used.add(best)
    united += sum(len(nucleus) for index, nucleus in enumerate(pred) if index not in used)
    return common / united


def reference_aji_plus(true: Nuclei, pred: Nuclei) -> list[float]:
    """The values of all assignments whose total IoU is the largest, by trying every one."""
    places: list[int | None] = [*range(len(pred)), *[None] * len(true)]
    best, values = -1.0, []
    for chosen in set(itertools.permutations(places, len(true))):
        pairs = [(i, j) for i, j in enumerate(chosen) if j is not None and true[i] & pred[j]]
        total = math.fsum(iou(true[i], pred[j]) for i, j in pairs)
        common = sum(len(true[i] & pred[j]) for i, j in pairs)
        united = sum(len(nucleus) for nucleus in true) + sum(len(nucleus) for nucleus in pred)
        value = common / (united - common)
        if total > best + 1e-12:
            best, values = total, [value]
        elif total > best - 1e-12:
            values.append(value)
    return values


def reference_panoptic(true: Nuclei, pred: Nuclei) -> tuple[float, float, float]:
    ious = [iou(a, b) for a in true for b in pred if iou(a, b) > 0.5]
    found = len(ious)
    false_alarms, misses = len(pred) - found, len(true) - found
    detection = found / (found + false_alarms / 2 + misses / 2)
    segmentation = sum(ious) / found if found else 0.0
    return detection, segmentation, detection * segmentation


def reference_f1(true: Nuclei, pred: Nuclei) -> float:
    found = sum(any(iou(a, b) > 0.5 for b in pred) for a in true)
    precision, recall = found / len(pred), found / len(true)
    return 2 * precision * recall / (precision + recall) if found else 0.0


@st.composite
def pairs_of_maps(draw, max_ids=5):
    """Touching nuclei with gaps in the ids; the prediction is a damaged copy or another map."""
    shape = draw(st.tuples(st.integers(3, 8), st.integers(3, 8)))
    ids = draw(st.lists(st.integers(1, 70_000), min_size=1, max_size=max_ids, unique=True))
    seeds = draw(st.integers(0, 2**32 - 1))
    generator = np.random.default_rng(seeds)

    def random_map() -> np.ndarray:
        blocks = generator.choice([0, *ids], size=(4, 4))
        return np.kron(blocks, np.ones((2, 2), dtype=np.int64))[: shape[0], : shape[1]]

    true = random_map()
    pred = random_map() if draw(st.booleans()) else true.copy()
    damaged = generator.random(shape) < draw(st.sampled_from([0.0, 0.1, 0.3]))
    pred[damaged] = generator.choice([0, *ids], size=int(damaged.sum()))
    kind = draw(st.sampled_from([np.int32, np.int64, np.uint32]))
    return true.astype(kind), pred.astype(kind)
