"""Several trainings in one folder are told from one that was resumed."""

from __future__ import annotations

import json

import pytest

from selfsam_d2.engine.finished_run import read_run
from selfsam_d2.engine.setup import load_config

START = "[11/30 21:18:58] d2.engine.train_loop INFO: Starting training from iteration {}\n"
STEP = "[11/30 21:19:20] d2.utils.events INFO:  eta: 0:24:43  iter: 19  total_loss: 5.483\n"
SAVED = "[11/30 21:20:26] checkpoint INFO: Saving checkpoint to output/mine/model_0000009.pth\n"
ENDED = "[11/30 21:19:00] d2.utils.events INFO:  iter: 0    lr: N/A\n"
ZERO = START.format(0)


@pytest.fixture
def trainings(tmp_path):
    """Function: text of log.txt, steps of metrics.json (None: no file) -> number of trainings."""
    (tmp_path / "config.yaml").write_text(load_config("", []).dump())

    def count(log, steps):
        for name, text in (
            ("log.txt", log),
            ("metrics.json", steps and "".join(f"{json.dumps({'iteration': s})}\n" for s in steps)),
        ):
            if text is not None:
                (tmp_path / name).write_text(text)
        return read_run(tmp_path).log.trainings

    return count


@pytest.mark.parametrize(
    ("log", "number"),
    [
        ("", 1),
        (ZERO + STEP, 1),
        (ZERO + STEP + START.format(100) + STEP, 1),  # resumed
        (START.format(100) + STEP, 1),  # the log of the first start is lost
        (ZERO + STEP + ZERO + STEP, 2),
        (ZERO + STEP + START.format(100) + STEP + ZERO + STEP + START.format(20) + STEP, 2),
        (ZERO + SAVED + ZERO + SAVED + ZERO + STEP, 3),
        (ZERO + ENDED + ZERO + STEP, 1),  # the first one ended before it did anything
        (ZERO + ENDED + ZERO + ENDED + ZERO, 1),
        (ZERO + STEP + ZERO + ENDED, 2),  # the second one has left its config
    ],
)
def test_by_the_log(log, number, trainings):
    assert trainings(log, None) == number


def test_by_the_steps_where_the_log_names_no_start(trainings):
    twice = [19, 39, 19, 39]
    assert trainings(None, twice) == 2
    assert trainings("nothing\n", twice) == 2
    assert trainings(ZERO + STEP + START.format(15) + STEP, twice) == 1
    assert trainings("nothing\n", [19, 39, 39]) == 1
