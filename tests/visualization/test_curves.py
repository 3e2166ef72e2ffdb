from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from selfsam_d2.errors import InputError
from selfsam_d2.visualization.curves import draw_curves, read_training_log


def write_log(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_later_row_of_a_repeated_step_counts(tmp_path):
    rows = [
        {"iteration": 39, "total_loss": 3.0},
        {"iteration": 19, "total_loss": 5.0},
        {"iteration": 39, "total_loss": 2.0},
    ]
    read = read_training_log(write_log(tmp_path / "metrics.json", rows))
    assert [(row["iteration"], row["total_loss"]) for row in read] == [(19, 5.0), (39, 2.0)]


@pytest.mark.parametrize("text", ['{"before": {}}', "[1]", '{"iteration": 1', "{}\n"])
def test_refuses_another_file(tmp_path, text):
    path = tmp_path / "metrics.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"metrics.json: line 1 "):
        read_training_log(path)


def test_refuses_a_missing_file(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_training_log(tmp_path / "metrics.json")


def ink(path):
    """Coloured (not grey) pixels of a picture, of its left, middle and right third."""
    picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
    colored = picture.max(axis=2) - picture.min(axis=2) > 40
    return [third.sum() for third in np.array_split(colored, 3, axis=1)]


def test_each_curve_is_drawn_in_its_panel(tmp_path):
    rows = [
        {"iteration": step, "total_loss": 5 - step / 100, "loss_contrast": 0.0, "alpha": 0.5}
        for step in (19, 39, 59)
    ]
    draw_curves([], tmp_path / "empty.png")
    draw_curves(rows, tmp_path / "training.png")
    draw_curves(
        [*rows, {"iteration": 60, "nuclei/AJI": 0.7}],
        tmp_path / "all.png",
        before={"AJI": 0.0, "Dice": None},
    )
    assert ink(tmp_path / "empty.png") == [0, 0, 0]
    training, everything = ink(tmp_path / "training.png"), ink(tmp_path / "all.png")
    assert min(training[:2]) > 100
    assert training[2] == 0
    assert everything[2] > 100
