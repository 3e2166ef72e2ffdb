"""The runner and its training: which signals end both, and which leave the training alone."""

import os
import signal
import subprocess
import sys
import time

import pytest

LONGEST = 600  # s
# A queue of one run whose training only sleeps.
RUNNER = """
import sys
from pathlib import Path
from selfsam_d2.engine import run_queue
from selfsam_d2.engine.experiments import plan_experiments
from selfsam_d2.errors import run_command
run_queue.TRAIN_NET = Path(sys.argv[1])
(run,) = plan_experiments(["configs/demo.yaml"], [0])
output = Path(sys.argv[2])
run_command(lambda: run_queue.run_queue([run], output, output / "records"))
"""


@pytest.fixture
def command(tmp_path):
    script = tmp_path / "train.py"
    script.write_text("import time\nprint('begun', flush=True)\ntime.sleep(3000)\n")
    return [sys.executable, "-c", RUNNER, str(script), str(tmp_path)]


@pytest.fixture
def start(command, tmp_path):
    folder = tmp_path / "demo_shift0_seed0"
    begun = []

    def start_runner(*before):
        runner = subprocess.Popen(
            [*before, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        begun.append(runner.pid)
        end = time.monotonic() + LONGEST
        while not (folder / "console.txt").is_file() or not (folder / "console.txt").read_text():
            assert runner.poll() is None, "it ended by itself"
            assert time.monotonic() < end, f"nothing was begun in {LONGEST} s"
            time.sleep(0.05)
        training = int((folder / "lock").read_text())
        begun.append(training)
        return runner, training

    yield start_runner
    for process in begun:
        if is_alive(process):
            os.kill(process, signal.SIGKILL)


def is_alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_runner_that_is_asked_to_end_ends_its_training(start, number):
    runner, training = start()
    runner.send_signal(number)
    assert runner.wait(timeout=LONGEST) == 128 + number
    assert not is_alive(training)


def test_nohup_keeps_both(start):
    runner, training = start("nohup")
    runner.send_signal(signal.SIGHUP)
    time.sleep(1)
    assert runner.poll() is None
    assert is_alive(training)
    runner.terminate()
    assert runner.wait(timeout=LONGEST) == 128 + signal.SIGTERM
    assert not is_alive(training)


def test_a_training_whose_runner_was_killed_keeps_its_folder(start, command, tmp_path):
    runner, training = start()
    runner.kill()
    runner.wait()
    assert is_alive(training)
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    place = tmp_path / "demo_shift0_seed0"
    assert f"error: {place}: a training is running in it (process {training})" in again.stderr
    assert (place / "console.txt").read_text() == "begun\n"
