"""tools/train_net.py where another training is or was: two at a time, killed, none to find."""

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from selfsam_d2.data.synthetic import write_synthetic_dataset
from selfsam_d2.engine.folder_lock import locked

ROOT = Path(__file__).parents[2]
SCRIPT = str(ROOT / "tools" / "train_net.py")
SMALL = (
    *("MODEL.SAM.INPUT_SIDE", "64", "INPUT.NUCLEI.CROP", "64", "INFERENCE.WINDOW", "64"),
    *("INFERENCE.OVERLAP", "16", "MODEL.WEIGHTS", "", "DATASETS.TRAIN", "my_train"),
    *("SOLVER.CHECKPOINT_PERIOD", "2", "SOLVER.IMS_PER_BATCH", "2", "DATALOADER.NUM_WORKERS", "1"),
)
LONGEST = 300  # s


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Function: OUTPUT_DIR, options, KEY VALUE pairs -> arguments of a training of seconds."""
    data = write_synthetic_dataset(tmp_path_factory.mktemp("data"), seed=1, train=1, val=1, size=96)

    def build(folder, *options, tests="()", pairs=()):
        registered = [
            part
            for split in ("train", "val")
            for part in (
                *("--register", f"my_{split}"),
                *(str(data[split].json_file), str(data[split].image_root)),
            )
        ]
        config = ("--config-file", str(ROOT / "configs" / "demo.yaml"))
        keys = (*SMALL, "DATASETS.TEST", tests, "OUTPUT_DIR", str(folder), *pairs)
        return [sys.executable, SCRIPT, *config, *options, *registered, *keys]

    return build


def run(arguments):
    return subprocess.run(
        arguments,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=LONGEST,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )


def tree(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.parametrize("processes", [1, 2])
def test_a_second_training_leaves_all_as_it_is(given, tmp_path, processes):
    with locked(tmp_path):
        before = tree(tmp_path)
        second = run(given(tmp_path, "--resume", "--num-gpus", str(processes)))
        assert tree(tmp_path) == before
    line = f"error: {tmp_path}: another training is going on in it (process of another start); "
    assert second.stderr == f"{line}wait for it or end it\n"
    assert second.returncode == 2


def test_an_evaluation_beside_a_training_is_none(given, tmp_path):
    with locked(tmp_path):
        done = run(given(tmp_path, "--eval-only", tests="my_val"))
    assert done.returncode == 0, done.stderr


def test_a_training_is_alone_until_it_is_killed(given, tmp_path):
    folder = tmp_path / "run"
    with (tmp_path / "said").open("w") as said:
        first = subprocess.Popen(
            given(folder, pairs=("SOLVER.MAX_ITER", "1000")), cwd=ROOT, stdout=said, stderr=said
        )
    try:
        end = time.monotonic() + LONGEST
        while not (folder / "last_checkpoint").exists():
            assert first.poll() is None, (tmp_path / "said").read_text()
            assert time.monotonic() < end
            time.sleep(0.1)
        second = run(given(folder, "--resume"))
        assert first.poll() is None
    finally:
        first.kill()
        first.wait()
    assert second.returncode == 2
    assert f"run: another training is going on in it (process {first.pid} on " in second.stderr
    assert second.stderr.count("\n") == 1
    last = int((folder / "last_checkpoint").read_text().removesuffix(".pth").split("_")[1])
    # At once: the data worker of the first one is perhaps still there.
    again = run(given(folder, "--resume", pairs=("SOLVER.MAX_ITER", str(last + 2))))
    assert again.returncode == 0, again.stderr
    assert f"Starting training from iteration {last + 1}" in again.stdout


def refusal(run_here, arguments):
    status, _, line = run_here(*arguments[1:])
    assert status == 2
    assert line.count("\n") == 1
    return line


def test_checkpoints_without_a_last_one_are_not_begun_over(given, run_here, tmp_path):
    folder = tmp_path / "my run"
    folder.mkdir()
    for number, name in enumerate(("final", "0000007", "0000009", "best")):
        path = folder / f"model_{name}.pth"
        path.touch()
        os.utime(path, (number, number))
    before = tree(folder)
    for options in ([], ["--resume"]):
        line = refusal(run_here, given(folder, *options))
        assert f"{folder}: holds a training (model_0000009.pth) but no last_checkpoint" in line
        assert "another OUTPUT_DIR begins anew" in line
        assert tree(folder) == before
    command = line.split("`")[1]
    assert command.endswith(f"> {shlex.quote(str(folder / 'last_checkpoint'))}")
    subprocess.run(command, shell=True, check=True)
    # It is found now, and is nothing that can be read.
    assert "model_0000009.pth: " in refusal(run_here, given(folder, "--resume"))


def test_a_first_checkpoint_that_was_not_named_any_more_is_gone_on_from(given, tmp_path):
    keys = ("SOLVER.MAX_ITER", "4")
    trained = run(given(tmp_path, pairs=("SOLVER.MAX_ITER", "2")))
    assert trained.returncode == 0, trained.stderr
    (tmp_path / "last_checkpoint").unlink()
    (tmp_path / "model_final.pth").unlink()
    refused = run(given(tmp_path, "--resume", pairs=keys))
    subprocess.run(refused.stderr.split("`")[1], shell=True, check=True)
    done = run(given(tmp_path, "--resume", pairs=keys))
    assert done.returncode == 0, done.stderr
    assert "Starting training from iteration 2" in done.stdout


def test_a_training_killed_before_its_first_checkpoint_begins_anew(given, tmp_path):
    (tmp_path / "log.txt").write_text("begun\n")
    (tmp_path / ".model_0000001.pth.part").write_text("half")
    (tmp_path / "lock").write_text("1234 on a\n")
    done = run(given(tmp_path, "--resume", pairs=("SOLVER.MAX_ITER", "1")))
    assert done.returncode == 0, done.stderr
    assert "Starting training from iteration 0" in done.stdout
