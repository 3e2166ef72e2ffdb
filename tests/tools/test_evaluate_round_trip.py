"""tools/evaluate_round_trip.py: true label maps through the post-processing and back."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SCRIPT = str(Path(__file__).parents[2] / "tools" / "evaluate_round_trip.py")


@pytest.fixture
def run(monkeypatch, capfd):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", [SCRIPT, *map(str, arguments)])
        runpy.run_path(SCRIPT, run_name="__main__")
        return capfd.readouterr().out

    return run


@pytest.fixture
def labels(tmp_path):
    y, x = np.mgrid[:120, :120]
    discs = np.zeros((120, 120), np.uint16)
    for number, (cy, cx) in enumerate([(20, 20), (60, 80), (95, 30)], start=7):
        discs[(y - cy) ** 2 + (x - cx) ** 2 < 144] = number
    Image.fromarray(discs).save(tmp_path / "a.png")
    return tmp_path


def score(table):
    (row,) = [line.split() for line in table.splitlines() if line.startswith("mean of 1")]
    return float(row[4])


def test_discs_come_back_and_settings_count(run, labels):
    assert score(run("--labels", labels)) == 1
    assert score(run("--labels", labels, "POSTPROCESS.MIN_OBJECT_AREA", "10000")) == 0


def test_bad_input_is_one_line(run, capfd, tmp_path):
    with pytest.raises(SystemExit) as stop:
        run("--labels", tmp_path / "missing")
    assert stop.value.code == 2
    complaint = capfd.readouterr().err
    assert complaint.count("\n") == 1
    assert "missing" in complaint
