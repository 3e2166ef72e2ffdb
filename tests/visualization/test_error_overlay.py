from __future__ import annotations

import numpy as np
import pytest

from selfsam_d2.evaluation.error_kinds import classify_nuclei
from selfsam_d2.visualization.error_overlay import ERROR_COLORS, draw_errors

SIDE = 40
CORNERS = {  # of a true and a predicted box: row, column, height, width
    "found": [((2, 2, 8, 8), (2, 2, 8, 8))],
    "missed": [((2, 20, 8, 8), None)],
    "spurious": [(None, (2, 30, 8, 8))],
    "merged": [((14, 2, 8, 4), (14, 2, 8, 8)), ((14, 6, 8, 4), None)],
    "split": [((26, 2, 8, 8), (26, 2, 8, 4)), (None, (26, 6, 8, 4))],
}


def paint(drawn, number, box):
    if box is not None:
        row, column, height, width = box
        drawn[row : row + height, column : column + width] = number


def test_each_kind_has_its_colour_in_its_place():
    true, pred = np.zeros((2, SIDE, SIDE), np.int32)
    place = {}
    for kind, boxes in CORNERS.items():
        place[kind] = np.zeros((SIDE, SIDE), bool)
        for number, (true_box, pred_box) in enumerate(boxes):
            for drawn, box in ((true, true_box), (pred, pred_box)):
                paint(drawn, 10 * len(place) + number, box)
                paint(place[kind], True, box)
    image = np.full((SIDE, SIDE, 3), (220, 160, 190), np.uint8)
    drawn = draw_errors(image, true, pred, classify_nuclei(true, pred))
    factor = 1000 // SIDE
    assert drawn.shape == (1000, 1000, 3)
    # A pixel of the image is a square of the drawing.
    small = drawn[factor // 2 :: factor, factor // 2 :: factor]
    for kind, color in ERROR_COLORS.items():
        has = (small == np.array(color)).all(axis=2)
        assert has.any(), kind
        assert not (has & ~place[kind]).any(), kind
    thick = (small[2:10, 20:28] == np.array(ERROR_COLORS["missed"])).all(axis=2)
    thin = (small[2:10, 2:10] == np.array(ERROR_COLORS["found"])).all(axis=2)
    assert (thin.sum(), thick.sum()) == (28, 48)


def test_the_colours_are_told_apart():
    lightness = sorted(np.dot((0.299, 0.587, 0.114), color) for color in ERROR_COLORS.values())
    assert min(np.diff(lightness)) > 15
    assert len(set(ERROR_COLORS.values())) == 5


def test_refuses_maps_of_another_size():
    empty = np.zeros((4, 4), np.int32)
    with pytest.raises(ValueError, match="size of the image"):
        draw_errors(np.zeros((5, 5, 3), np.uint8), empty, empty, classify_nuclei(empty, empty))
