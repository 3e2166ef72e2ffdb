from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from selfsam_d2.visualization.crop_view import CropView
from selfsam_d2.visualization.label_history import LabelStage, changed_pixels, draw_label_history

SIDE = 20


@pytest.fixture
def view():
    labels = np.zeros((SIDE, SIDE), np.int64)
    labels[2:8, 2:8] = 1
    labels[12:16, 2:8] = -1
    outside = np.zeros((SIDE, SIDE), bool)
    outside[:, 18:] = True
    labels[outside] = -1
    zeros = np.zeros((SIDE, SIDE), np.float32)
    return CropView(
        name="crop",
        alpha=1.0,
        image=np.full((SIDE, SIDE, 3), (220, 160, 190), np.uint8),
        points=np.array([[5, 5]], np.float32),
        base=zeros,
        adapted=zeros,
        prompt_label=labels,
        instance_label=labels,
        outside=outside,
        foreground=zeros,
        instance_map=labels.astype(np.int32),
    )


def later(view):
    """Two pixels more of nucleus 1, and others beyond the image, which do not count."""
    labels = view.prompt_label.copy()
    labels[8, 2:4] = 1
    labels[0, 19] = 1
    return replace(view, prompt_label=labels)


def test_pixels_that_change_are_those_inside_the_image(view):
    changed = changed_pixels(view, later(view))
    assert changed.sum() == 2
    assert changed[8, 2:4].all()
    with pytest.raises(ValueError, match="one crop"):
        changed_pixels(view, replace(view, points=view.points + 1))


def test_shares_are_of_the_pixels_inside(view):
    shares = LabelStage("now", [view, view]).shares()
    assert shares == pytest.approx({"nuclei": 36 / 360, "ignored": 24 / 360})
    empty = replace(view, outside=np.ones((SIDE, SIDE), bool))
    assert LabelStage("now", [empty]).shares() == {"nuclei": 0.0, "ignored": 0.0}


def test_draws_a_row_per_crop_and_a_column_per_moment(view, tmp_path):
    first, last = LabelStage("first", [view]), LabelStage("last", [later(view)])
    draw_label_history([first, last], tmp_path / "two.png")
    draw_label_history([first, first, last], tmp_path / "three.png")
    sizes = [Image.open(tmp_path / f"{name}.png").size for name in ("two", "three")]
    assert sizes[1][0] > sizes[0][0] > 1000
    with pytest.raises(ValueError, match="at least one"):
        draw_label_history([], tmp_path / "none.png")
