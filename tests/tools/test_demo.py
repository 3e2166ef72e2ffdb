from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
METRICS = ["Dice", "AJI", "AJI_plus", "AJI_fast", "object_Dice", "DQ", "SQ", "PQ", "F1"]
TINY = (
    *("--steps", "2", "--train-images", "1", "--val-images", "1", "--size", "64"),
    *("MODEL.SAM.INPUT_SIDE", "64", "INPUT.NUCLEI.CROP", "64", "INFERENCE.WINDOW", "64"),
    *("INFERENCE.OVERLAP", "16", "DATALOADER.NUM_WORKERS", "0"),
)


def run_demo(*arguments):
    return subprocess.run(
        [sys.executable, "tools/demo.py", *map(str, arguments)],
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A demo that ran over the output of an interrupted earlier one."""
    output = tmp_path_factory.mktemp("demo") / "out"
    (output / "overlays").mkdir(parents=True)
    (output / ".selfsam-demo").touch()
    (output / "overlays" / "val_99.png").write_text("of an earlier demo")
    return output, run_demo("--output", output, *TINY)


def test_metrics_have_the_form_that_others_rely_on(demo):
    output, _ = demo
    metrics = json.loads((output / "metrics.json").read_text())
    assert list(metrics) == ["before", "after"]
    for row in metrics.values():
        assert list(row) == METRICS
        assert all(value is None or 0 <= value <= 1 for value in row.values())


def test_status_says_whether_training_helped(demo):
    output, done = demo
    metrics = json.loads((output / "metrics.json").read_text())
    improved = all(metrics["after"][name] > metrics["before"][name] for name in ("AJI", "Dice"))
    assert done.returncode == (0 if improved else 1)
    complaints = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(complaints) == (0 if improved else 1)
    assert "Traceback" not in done.stderr


def test_numbers_printed_are_the_numbers_written(demo):
    output, done = demo
    metrics = json.loads((output / "metrics.json").read_text())
    rows = {line.split()[0]: line.split() for line in done.stdout.splitlines() if line}
    for name in METRICS:
        old, new = metrics["before"][name], metrics["after"][name]
        assert rows[name][1:3] == [f"{old:.4f}", f"{new:.4f}"]
    assert str(output / "report.html") in done.stdout


def test_everything_promised_is_there(demo):
    output, _ = demo
    pictures = ["curves.png", "labels_start.png", "labels_end.png", "overlays/val_00.png"]
    for name in pictures:
        assert np.asarray(Image.open(output / name)).std() > 1
    assert not (output / "overlays" / "val_99.png").exists()
    report = (output / "report.html").read_text()
    assert report.count("data:image/png;base64,") == len(pictures)
    assert (output / "training" / "config.yaml").is_file()
    assert (output / "inference_after" / "nuclei_metrics.json").is_file()


def test_log_goes_to_the_file_and_the_bar_stays_alone(demo):
    output, done = demo
    assert "Starting training" in (output / "training" / "log.txt").read_text()
    assert "Starting training" not in done.stdout + done.stderr
    assert "2/2" in done.stderr
    assert "loss=" in done.stderr
    assert "Warning" not in done.stderr


@pytest.fixture
def refused(monkeypatch, capfd):
    """Run the tool in this process with bad input, which spares its imports: stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["tools/demo.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(ROOT / "tools" / "demo.py"), run_name="__main__")
        assert stop.value.code == 2
        return capfd.readouterr().err

    return run


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--steps", "0"], "--steps 0"),
        (["--steps", "many"], "--steps"),
        (["--seed", "-1"], "--seed -1"),
        (["--config-file", "none.yaml"], "none.yaml"),
        (["NO.SUCH_KEY", "1"], "NO.SUCH_KEY"),
        (["MODEL.SAM.INPUT_SIDE"], "MODEL.SAM.INPUT_SIDE"),
    ],
)
def test_bad_input_is_one_line(refused, tmp_path, arguments, expected):
    complaints = refused("--output", tmp_path / "out", *arguments)
    assert complaints.count("\n") == 1
    assert expected in complaints
    assert not (tmp_path / "out").exists()


def test_a_folder_of_the_user_is_left_alone(refused, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    complaints = refused("--output", tmp_path, *TINY)
    assert complaints.count("\n") == 1
    assert "not empty" in complaints
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
