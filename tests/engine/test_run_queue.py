"""The runner and its training: which signals end both, and which leave the training alone."""

import multiprocessing
import os
import signal
import time
from contextlib import redirect_stderr

import pytest

from selfsam_d2.engine import run_queue
from selfsam_d2.engine.experiments import plan_experiments
from selfsam_d2.errors import run_command

LONGEST = 300  # s
# It holds its OUTPUT_DIR, the second value from the end, as train_net.py does.
TRAINING = """
import sys, time
from pathlib import Path
from selfsam_d2.engine.folder_lock import held_for_training
with held_for_training(Path(sys.argv[-3])):
    print("begun", flush=True)
    time.sleep(3000)
"""
# A copy of this process, which spares the imports of a new one.
FORK = multiprocessing.get_context("fork")


def run_one(script, output, ignored):
    """A queue of one run whose training only sleeps; what it says goes to a file."""
    for number in run_queue.STOPS:
        signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)
    run_queue.TRAIN_NET = script
    planned = plan_experiments(["configs/demo.yaml"], [0])
    with (output / "said.txt").open("w") as file, redirect_stderr(file):
        run_command(lambda: run_queue.run_queue(planned, output, output / "records"))


@pytest.fixture
def runner(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(TRAINING)
    processes = []

    def start(ignored=()):
        processes.append(FORK.Process(target=run_one, args=(script, tmp_path, ignored)))
        processes[-1].start()
        return processes[-1]

    yield start
    training = tmp_path / "demo_shift0_seed0" / "lock"
    for process in processes:
        process.kill()
        process.join()
    if is_alive(int(training.read_text())):
        os.kill(int(training.read_text()), signal.SIGKILL)


def wait_for_training(runner, folder):
    """The number of the process that trains."""
    console, end = folder / "demo_shift0_seed0" / "console.txt", time.monotonic() + LONGEST
    while not console.is_file() or not console.read_text():
        assert runner.is_alive(), "it ended by itself"
        assert time.monotonic() < end, f"nothing was begun in {LONGEST} s"
        time.sleep(0.05)
    return int((console.parent / "lock").read_text())


def is_alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_runner_that_is_asked_to_end_ends_its_training(runner, tmp_path, number):
    process = runner()
    training = wait_for_training(process, tmp_path)
    os.kill(process.pid, number)
    process.join(LONGEST)
    assert process.exitcode == 128 + number
    assert not is_alive(training)


def test_under_nohup_both_go_on(runner, tmp_path):
    process = runner(ignored=[signal.SIGHUP])
    training = wait_for_training(process, tmp_path)
    os.kill(process.pid, signal.SIGHUP)
    process.join(1)
    assert process.is_alive()
    assert is_alive(training)
    process.terminate()
    process.join(LONGEST)
    assert process.exitcode == 128 + signal.SIGTERM
    assert not is_alive(training)


def test_a_training_whose_runner_was_killed_keeps_its_folder(runner, tmp_path):
    process = runner()
    training = wait_for_training(process, tmp_path)
    process.kill()
    process.join()
    assert is_alive(training)
    again = runner()
    again.join(LONGEST)
    assert again.exitcode == 2
    folder = tmp_path / "demo_shift0_seed0"
    said = (tmp_path / "said.txt").read_text()
    line = f"error: {folder}: another training is going on in it (process {training});"
    assert said.startswith(line)
    assert said.count("\n") == 1
    assert (folder / "console.txt").read_text() == "begun\n"
