"""tools/run_experiments.py as typed: run, stopped, gone on with, and nothing run twice."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from selfsam_d2.data.synthetic import write_synthetic_dataset
from selfsam_d2.engine.run_folder import git_commit

STEPS = "60"  # more than are done until it is stopped
ROOT = Path(__file__).parents[2]
SCRIPT = str(ROOT / "tools" / "run_experiments.py")
CONFIG = str(ROOT / "configs" / "demo.yaml")
SMALL = (
    *("MODEL.SAM.INPUT_SIDE", "64", "INPUT.NUCLEI.CROP", "64", "INFERENCE.WINDOW", "64"),
    *("INFERENCE.OVERLAP", "16", "DATALOADER.NUM_WORKERS", "0", "SOLVER.CHECKPOINT_PERIOD", "2"),
    *("DATASETS.TRAIN", "('my_train',)", "DATASETS.TEST", "('my_val',)"),
)


@pytest.fixture(scope="module")
def register(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    data = write_synthetic_dataset(folder, seed=1, train=1, val=1, size=96)
    return [
        str(part)
        for split in ("train", "val")
        for part in ("--register", f"my_{split}", data[split].json_file, data[split].image_root)
    ]


def arguments(register, output, *more, configs=(CONFIG,)):
    start = [sys.executable, SCRIPT, "--configs", *configs, "--seeds", "0", "--shifts", "0"]
    return [*start, *register, "--output", str(output), *more]


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def wait_for(path, process, seconds=600):
    end = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, "it ended by itself"
        if time.monotonic() > end:
            process.terminate()
            pytest.fail(f"no {path.name} in {seconds} s")
        time.sleep(0.05)


def processes_with(text):
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if text in entry.read_bytes().decode(errors="replace"):
                found.append(int(entry.parent.name))
        except OSError:
            continue  # it has just ended
    return found


def test_a_stopped_queue_goes_on_and_does_nothing_twice(register, tmp_path):
    output = tmp_path / "out"
    given = arguments(register, output, *SMALL, "SOLVER.MAX_ITER", STEPS)
    folder = output / "demo_shift0_seed0"
    process = subprocess.Popen(given, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for(folder / "last_checkpoint", process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=300) == 128 + signal.SIGTERM
    assert processes_with(str(folder)) == []
    assert not list(output.glob("records/*"))
    begun = int((folder / "last_checkpoint").read_text().removesuffix(".pth").split("_")[1])
    refused = run(*arguments(register, output, *SMALL, "SOLVER.MAX_ITER", "400"))
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert f"{folder.name}: was begun with another SOLVER.MAX_ITER; delete it" in refused.stderr
    done = run(*given)
    assert done.returncode == 0, done.stderr
    (record_file,) = output.glob("records/*.json")
    record = json.loads(record_file.read_text())
    assert record["steps"] == int(STEPS)
    assert record["method"] == "self-refining"
    assert record["commit"] == git_commit(ROOT)
    assert f"Starting training from iteration {begun + 1}" in (folder / "console.txt").read_text()
    assert "| my_val" in done.stdout
    for name in ("results.md", "results.csv", "results.json", "results.png"):
        assert (output / name).stat().st_size > 0
    before = os.stat(folder / "metrics.json").st_mtime_ns
    again = run(*given)
    assert again.returncode == 0, again.stderr
    assert again.stdout == done.stdout
    assert os.stat(folder / "metrics.json").st_mtime_ns == before
    other = run(*arguments(register, output, *SMALL, "SOLVER.MAX_ITER", "1"))
    assert (other.returncode, other.stderr.count("\n")) == (2, 1)
    assert "another SOLVER.MAX_ITER" in other.stderr


def test_a_run_that_fails_is_named_and_the_next_one_goes_on(tmp_path, register):
    output = tmp_path / "out"
    broken = tmp_path / "broken.yaml"
    broken.write_text(f"_BASE_: {CONFIG}\nMODEL:\n  WEIGHTS: no_such.pth\n")
    short = (*SMALL, "SOLVER.MAX_ITER", "1")
    done = run(*arguments(register, output, *short, configs=(str(broken), CONFIG)))
    assert done.returncode == 2
    assert "1 of 2 runs failed, the first broken_shift0_seed0" in done.stderr
    assert "no_such.pth: no such file of weights" in done.stderr.splitlines()[-1]
    assert [each.stem for each in output.glob("records/*.json")] == ["demo_shift0_seed0"]


def test_no_run_and_no_table_is_one_line(tmp_path):
    done = run(*arguments([], tmp_path / "out", "--table-only"))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "no run is done yet" in done.stderr


def test_what_is_trained_is_evaluated_with_other_keys_of_the_prediction(register, tmp_path):
    output = tmp_path / "out"
    short = (*SMALL, "SOLVER.MAX_ITER", "1")
    # After one step some pixels are foreground at the threshold of the config, and none at this.
    strict = {"POSTPROCESS.FOREGROUND_THRESHOLD": 0.9999}
    again = ("--eval-only", *short, *map(str, *strict.items()))
    early = run(*arguments(register, output, *again))
    assert early.returncode == 2
    assert "holds no model_final.pth" in early.stderr.splitlines()[-1]
    assert run(*arguments(register, output, *short)).returncode == 0
    folder = output / "demo_shift0_seed0"
    before = os.stat(folder / "model_final.pth").st_mtime_ns
    done = run(*arguments(register, output, *again))
    assert done.returncode == 0, done.stderr
    assert os.stat(folder / "model_final.pth").st_mtime_ns == before
    trained, evaluated = (
        json.loads((output / name / "demo_shift0_seed0.json").read_text())
        for name in ("records", "evaluation_records")
    )
    assert trained["base"] == evaluated["base"]
    assert re.fullmatch("[0-9a-f]{64}", trained["base"])
    assert trained["results"]["my_val"]["mean"]["Dice"] > 0
    assert evaluated["results"]["my_val"]["mean"]["Dice"] == 0
    assert evaluated["settings"] == {**trained["settings"], **strict}
    assert [evaluated[key] for key in ("steps", "commit")] == [1, git_commit(ROOT)]
    for stem in ("results", "evaluation"):
        assert {each.suffix for each in output.glob(f"{stem}.*")} == {
            ".md",
            ".csv",
            ".json",
            ".png",
        }
    other = ("--eval-only", "--records", str(tmp_path / "r"), *short, "SOLVER.BASE_LR", "0.5")
    refused = run(*arguments(register, output, *other))
    assert "was begun with another SOLVER.BASE_LR; delete it" in refused.stderr.splitlines()[-1]
