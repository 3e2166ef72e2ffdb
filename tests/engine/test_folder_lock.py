"""One training at a time in a folder, whatever became of the one before."""

import errno
import fcntl
import os
import signal
import subprocess
import sys

import pytest

from selfsam_d2.engine.folder_lock import GIVEN, held_for_training, locked
from selfsam_d2.errors import InputError

BUSY = "another training is going on in it"
# Holds its folder and has a data worker, of which it tells the number.
TRAINING = """
import os, sys, time
from pathlib import Path
from selfsam_d2.engine.folder_lock import held_for_training
with held_for_training(Path(sys.argv[1])) as problem:
    worker = os.fork()
    if worker:
        time.sleep(0.1)  # it may still be at its first lines
        print(worker, problem, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def training():
    """Function: folder -> (a training in it, its data worker), both ended behind the test."""
    started = []

    def start(folder, **options):
        command = [sys.executable, "-c", TRAINING, str(folder)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)
        worker, problem = process.stdout.readline().split()
        assert problem == "None"
        started.append((process, int(worker)))
        return started[-1]

    yield start
    for process, worker in started:
        process.kill()
        process.wait()
        process.stdout.close()
        os.kill(worker, signal.SIGKILL)


def refused(folder, hold=locked):
    with pytest.raises(InputError, match=BUSY) as caught, hold(folder):
        pass
    return str(caught.value)


def test_a_folder_is_held_by_one_and_says_by_whom(tmp_path):
    with locked(tmp_path) as lock:
        lock.write("1234\n")
        lock.flush()
        line = f"{tmp_path}: {BUSY} (process 1234); wait for it or end it"
        assert refused(tmp_path) == refused(tmp_path, held_for_training) == line
    with locked(tmp_path):
        pass


def test_who_is_given_the_lock_holds_it_on(tmp_path):
    with locked(tmp_path) as lock:
        child = subprocess.Popen(["sleep", "60"], pass_fds=[lock.fileno()])
    refused(tmp_path)
    child.kill()
    child.wait()
    with locked(tmp_path):
        pass


def test_a_killed_training_holds_nothing_though_its_worker_lives(training, tmp_path):
    folder = tmp_path / "new"
    process, worker = training(folder)
    assert f"(process {process.pid} on " in refused(folder, held_for_training)
    process.kill()
    process.wait()
    os.kill(worker, 0)  # it is there
    with held_for_training(folder) as problem:
        assert problem is None


def test_a_training_that_was_given_the_lock_holds_on_to_it(training, tmp_path):
    with locked(tmp_path) as lock:
        environment = {**os.environ, GIVEN: str(lock.fileno())}
        process, worker = training(tmp_path, pass_fds=[lock.fileno()], env=environment)
    refused(tmp_path)
    process.kill()
    process.wait()
    os.kill(worker, 0)
    with locked(tmp_path):
        pass


@pytest.mark.parametrize("given", ["", "x", "-1", "0", "99999", "9" * 30])
def test_a_number_that_means_nothing_here_is_no_lock(given, tmp_path, monkeypatch):
    monkeypatch.setenv(GIVEN, given)
    with locked(tmp_path):
        refused(tmp_path, held_for_training)


def test_without_locks_in_the_file_system_one_can_train(tmp_path, monkeypatch):
    def flock(file, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with held_for_training(tmp_path) as problem:
        assert problem == "No locks available"
    with pytest.raises(InputError, match=r"cannot be locked \(No locks"), locked(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    line = r"file/run: cannot be written \(Not a directory\); choose another OUTPUT_DIR$"
    with pytest.raises(InputError, match=line), held_for_training(tmp_path / "file" / "run"):
        pass


def test_what_ended_is_not_named(tmp_path):
    with held_for_training(tmp_path):
        named = (tmp_path / "lock").read_text()
    assert named.startswith(f"{os.getpid()} on ")
    with locked(tmp_path):
        assert "of another start" in refused(tmp_path)
