from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from selfsam_d2.errors import InputError
from selfsam_d2.structures.image_files import MAX_TEXT
from selfsam_d2.visualization.curves import draw_curves, read_training_log, trainings_in_log


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


def test_a_last_row_that_is_being_written_is_left_out(tmp_path, caplog):
    path = tmp_path / "metrics.json"
    row = '{"iteration": 19, "total_loss": 2.0}\n'
    path.write_text(row + '{"iteration": 39, "tot')
    assert [each["iteration"] for each in read_training_log(path)] == [19]
    assert caplog.messages == [f"{path}: the last line, 2, is unfinished; left out"]
    path.write_text(row + '{"iteration": 39}')
    assert [each["iteration"] for each in read_training_log(path)] == [19, 39]
    path.write_text(row + '{"iteration": 39, "tot\n')
    with pytest.raises(InputError, match="line 2 is not a row"):
        read_training_log(path)


def test_refuses_a_missing_file(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_training_log(tmp_path / "metrics.json")


def test_refuses_a_file_that_is_too_large(tmp_path):
    with (tmp_path / "metrics.json").open("wb") as file:
        file.truncate(MAX_TEXT + 1)  # takes no room on the disk
    for read in (read_training_log, trainings_in_log):
        with pytest.raises(InputError, match=r"metrics\.json: is larger than 512 MiB; give the"):
            read(tmp_path / "metrics.json")


@pytest.mark.parametrize(
    ("steps", "trainings"),
    [
        ([], 0),
        ([19, 39, 59], 1),
        ([19, 39, 59, 39, 59], 1),  # resumed
        ([19, 39, 19, 39, 59], 2),
        ([19, 39, 19, 39, 29, 49, 5], 3),  # the last one ended at step 5
    ],
)
def test_trainings_of_one_log_are_counted(steps, trainings, tmp_path):
    log = write_log(tmp_path / "metrics.json", [{"iteration": step} for step in steps])
    assert trainings_in_log(log) == trainings


def ink(path, panels):
    """Coloured (not grey) pixels of each of the panels of a picture."""
    picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert picture.shape[1] == 550 * panels
    colored = picture.max(axis=2) - picture.min(axis=2) > 40
    return [part.sum() for part in np.array_split(colored, panels, axis=1)]


STEPS = (19, 39, 59)
LOSS = [{"iteration": step, "total_loss": 5 - step / 100, "loss_contrast": 0.0} for step in STEPS]
ALPHA = [{**row, "alpha": 1 - row["iteration"] / 100} for row in LOSS]
CONSTANT = [{**row, "alpha": 1.0, "labels/empty_prompts": 0.0} for row in LOSS]
METRIC = {"iteration": 60, "nuclei/AJI": 0.7}


@pytest.mark.parametrize(
    ("rows", "before", "panels"),
    [
        (LOSS, None, 1),
        (LOSS, {"AJI": None}, 1),
        (ALPHA, None, 2),
        (CONSTANT, None, 1),
        ([*LOSS, METRIC], None, 2),
        (LOSS, {"AJI": 0.1}, 2),
        ([*ALPHA, METRIC], {"AJI": 0.0, "Dice": None}, 3),
    ],
)
def test_only_diagrams_with_something_in_them_are_drawn(rows, before, panels, tmp_path):
    assert draw_curves(rows, tmp_path / "curves.png", before) == panels
    assert min(ink(tmp_path / "curves.png", panels)) > 60


def test_without_a_loss_the_diagram_says_so(tmp_path):
    assert draw_curves([{"iteration": 3}], tmp_path / "curves.png") == 1
    assert ink(tmp_path / "curves.png", 1) == [0]
