"""tools/evaluate.py through the real command line."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tifffile
from PIL import Image

from selfsam_d2.evaluation.metrics import METRIC_NAMES, nuclei_metrics

ROOT = Path(__file__).parents[2]

TRUE = np.kron([[0, 4, 4], [9, 9, 0], [0, 0, 2]], np.ones((5, 5))).astype(np.uint16)
PRED = np.roll(TRUE, 2, axis=1)


class Done(NamedTuple):
    """What a finished command leaves."""

    status: int
    stdout: str
    stderr: str


def run_as_process(*arguments: object) -> Done:
    done = subprocess.run(
        [sys.executable, "tools/evaluate.py", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def run(monkeypatch, capfd):
    """The same script and command line in this process: importing torch anew takes seconds."""

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["tools/evaluate.py", *map(str, arguments)])
        status = 0
        try:
            runpy.run_path(str(ROOT / "tools" / "evaluate.py"), run_name="__main__")
        except SystemExit as stop:
            status = int(stop.code or 0)
        return Done(status, *capfd.readouterr())

    return run


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    true, pred = tmp_path / "true", tmp_path / "pred"
    true.mkdir()
    pred.mkdir()
    Image.fromarray(TRUE).save(true / "a.png")
    np.save(pred / "a.npy", PRED.astype(np.int64))
    return true, pred


def test_scores_table_and_file(folders, tmp_path):
    true, pred = folders
    np.save(true / "blank.npy", np.zeros((3, 4), np.int8))
    np.save(pred / "blank.npy", np.zeros((3, 4), np.int8))
    np.save(pred / "other.npy", PRED)
    report = tmp_path / "report" / "metrics.json"
    done = run_as_process("--gt", true, "--pred", pred, "--json", report)
    assert (done.status, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["image", *METRIC_NAMES]
    expected = nuclei_metrics(TRUE, PRED)
    assert lines[2].split() == ["a", *(f"{value:.4f}" for value in expected.values())]
    assert lines[4].split() == ["mean", "of", "1", *lines[2].split()[1:]]
    assert "not scored, no true label map: other" in lines
    content = json.loads(report.read_text())
    assert content["mean"] == pytest.approx(expected, rel=0, abs=1e-12)
    assert content["images"]["a"] == pytest.approx(expected, rel=0, abs=1e-12)
    assert set(content["images"]["blank"].values()) == {None}
    assert content["both_empty"] == 1


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


def truncated_tiff(folder: Path) -> None:
    (folder / "a.png").unlink()
    tifffile.imwrite(folder / "a.tif", TRUE)
    content = (folder / "a.tif").read_bytes()
    (folder / "a.tif").write_bytes(content[: len(content) - 20])


BAD_INPUT = {
    "missing folder": (
        lambda true, pred: (pred / "a.npy").rename(true.parent / "a.npy") and pred.rmdir(),
        ["pred: no such folder"],
    ),
    "empty folder": (lambda true, _: (true / "a.png").unlink(), ["true: no label map"]),
    "missing prediction": (
        lambda true, _: [np.save(true / f"lost{k}.npy", TRUE) for k in range(5)],
        ["no prediction for lost0, lost1, lost2 and 2 more"],
    ),
    "two files of one stem": (
        lambda _, pred: Image.fromarray(PRED).save(pred / "a.png"),
        ["a.png: same name as a.npy"],
    ),
    "sizes differ": (
        lambda true, pred: (
            np.save(pred / "a.npy", PRED[:12, 1:])
            or Image.fromarray(TRUE[:13]).save(true / "a.png")
        ),
        ["pred/a.npy: is 12 x 14", "true/a.png is 13 x 15"],
    ),
    "truncated": (lambda true, _: truncate(true / "a.png"), ["true/a.png: truncated, damaged"]),
    "truncated TIFF": (
        lambda true, _: truncated_tiff(true),
        ["true/a.tif: truncated, damaged"],
    ),
    "colour": (
        lambda true, _: Image.new("RGB", (15, 15)).save(true / "a.png"),
        ["true/a.png: has colour mode RGB"],
    ),
    "fractions": (
        lambda _, pred: np.save(pred / "a.npy", PRED / 2.7),
        ["pred/a.npy: holds fractions"],
    ),
    "negative": (
        lambda _, pred: np.save(pred / "a.npy", -PRED.astype(np.int32)),
        ["pred/a.npy: holds the negative id -9"],
    ),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_one_line_and_status_two(case, folders, run):
    damage, expected = BAD_INPUT[case]
    damage(*folders)
    # As a process where a decoder may write to stderr by itself.
    command = run_as_process if case == "truncated TIFF" else run
    done = command("--gt", folders[0], "--pred", folders[1])
    assert (done.status, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    for words in expected:
        assert words in done.stderr


def test_unwritable_report(folders, run):
    true, pred = folders
    done = run("--gt", true, "--pred", pred, "--json", true / "a.png" / "metrics.json")
    assert done.status == 2
    assert len(done.stderr.splitlines()) == 1
    assert "metrics.json: cannot be written" in done.stderr


def test_missing_option(folders, run):
    assert run("--gt", folders[0]) == (
        2,
        "",
        "error: arguments: the following arguments are required: --pred; see --help\n",
    )
