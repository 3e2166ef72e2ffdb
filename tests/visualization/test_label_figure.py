from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from selfsam_d2.visualization.crop_view import CropView
from selfsam_d2.visualization.label_figure import (
    IGNORED_IN_BOTH,
    LOST,
    OUTSIDE,
    RECOVERED,
    draw_label_figure,
    ignored_panel,
    label_panel,
)
from selfsam_d2.visualization.overlay import POINT_COLOR, PREDICTED_COLOR


@pytest.fixture
def view():
    side = 40
    prompt_label = np.zeros((side, side), np.int64)
    prompt_label[5:15, 5:15], prompt_label[20:30, 20:30] = 1, 2
    prompt_label[10:15, 5:15] = -1  # recovered below
    instance_label = prompt_label.copy()
    instance_label[10:15, 5:15] = 1
    instance_label[20:22, 20:30] = -1  # only ignored in S_I
    outside = np.zeros((side, side), bool)
    outside[:, 38:] = True
    prompt_label[33:36, :10] = instance_label[33:36, :10] = -1
    prompt_label[outside] = instance_label[outside] = -1
    probability = np.random.default_rng(0).random((side, side)).astype(np.float32)
    return CropView(
        name="slide & co",
        alpha=0.25,
        image=np.full((side, side, 3), (220, 160, 190), np.uint8),
        points=np.array([[10.5, 10.5], [25.5, 25.5]], np.float32),
        base=probability,
        adapted=probability,
        prompt_label=prompt_label,
        instance_label=instance_label,
        outside=outside,
        foreground=probability,
        instance_map=np.maximum(instance_label, 0).astype(np.int32),
    )


def has_color(image, color):
    return (image == np.array(color)).all(axis=-1)


def test_ignored_pixels_are_told_apart(view):
    panel = ignored_panel(view)
    expected = np.full((40, 40), "kept", dtype=object)
    expected[10:15, 5:15] = "recovered"
    expected[20:22, 20:30] = "lost"
    expected[33:36, :10] = "both"
    expected[:, 38:] = "outside"
    for name, color in (
        ("recovered", RECOVERED),
        ("lost", LOST),
        ("both", IGNORED_IN_BOTH),
        ("outside", OUTSIDE),
    ):
        np.testing.assert_array_equal(has_color(panel, color), expected == name)


def test_label_panel_marks_nuclei_and_what_is_beyond_the_image(view):
    panel = label_panel(view, view.prompt_label)[1::3, 1::3]
    np.testing.assert_array_equal(has_color(panel, OUTSIDE), view.outside)
    colorful = panel.max(axis=2).astype(int) - panel.min(axis=2) > 30
    np.testing.assert_array_equal(colorful, view.prompt_label > 0)


def test_figure_has_a_row_per_crop_and_the_colors_of_the_legend(view, tmp_path):
    sizes = []
    for count in (1, 3):
        path = tmp_path / f"{count}.png"
        draw_label_figure([view] * count, path, title="a title")
        picture = np.asarray(Image.open(path).convert("RGB"))
        sizes.append(picture.shape)
        for color in (POINT_COLOR, PREDICTED_COLOR, RECOVERED, LOST, IGNORED_IN_BOTH, OUTSIDE):
            # In the crop and in the legend.
            assert has_color(picture, color).sum() > 100
    assert sizes[1][0] > sizes[0][0] + 400
    assert sizes[1][1] == sizes[0][1]


def test_refuses_no_crop(tmp_path):
    with pytest.raises(ValueError, match="at least one crop"):
        draw_label_figure([], tmp_path / "none.png", title="")
