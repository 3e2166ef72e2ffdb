from __future__ import annotations

import numpy as np
from PIL import Image

from selfsam_d2.visualization.comparison import draw_comparison
from selfsam_d2.visualization.overlay import PREDICTED_COLOR, TRUE_COLOR


def panels_with(picture, color):
    """(row, column) of the panels, two a row, in which a colour is."""
    near = np.abs(picture.astype(int) - np.array(color)).max(axis=2) < 40
    height, width = near.shape
    return {
        (row, column)
        for row in (0, 1)
        for column in (0, 1)
        if near[
            row * height // 2 : (row + 1) * height // 2,
            column * width // 2 : (column + 1) * width // 2,
        ].sum()
        > 50
    }


def test_truth_and_predictions_have_panels_of_their_own(tmp_path):
    image = np.full((48, 64, 3), (220, 160, 190), np.uint8)
    true_map = np.zeros((48, 64), np.int32)
    true_map[10:30, 10:30], true_map[30:45, 40:60] = 1, 5
    predicted = np.where(true_map == 5, 1, 0)
    path = tmp_path / "picture.png"
    draw_comparison(image, true_map, {"before": np.zeros_like(true_map), "after": predicted}, path)
    picture = np.asarray(Image.open(path).convert("RGB"))
    assert panels_with(picture, TRUE_COLOR) == {(0, 1)}
    assert panels_with(picture, PREDICTED_COLOR) == {(1, 1)}
