"""A signal to several processes while they start, and to one or both of two machines."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch.distributed as dist

from selfsam_d2.engine import processes
from selfsam_d2.engine.process_group import is_lost_process
from selfsam_d2.engine.stop_hook import STOPPED

SCRIPT = Path(__file__).parent / "waiting_processes.py"
PATIENCE = 240  # s, of a machine with other work


@pytest.fixture
def start(tmp_path):
    """Function: processes, machines, rank, address -> a machine's first process."""
    started = []

    def run(count, machines=1, rank=0, url="auto"):
        arguments = (SCRIPT, tmp_path, count, machines, rank, url)
        machine = subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        )
        started.append(machine)
        return machine

    yield run
    for machine in started:
        if machine.poll() is None:
            os.killpg(machine.pid, signal.SIGKILL)
            machine.wait()


def wait_for(what):
    deadline = time.monotonic() + PATIENCE
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def children(machine):
    """Processes that a machine's first one has started; PyTorch's and Python's own among them."""
    listed = Path(f"/proc/{machine.pid}/task/{machine.pid}/children").read_text().split()
    names = [Path(f"/proc/{child}/cmdline").read_bytes() for child in listed]
    return [name for name in names if b"spawn_main" in name]


def end(machine):
    """Exit status and stderr."""
    _, errors = machine.communicate(timeout=PATIENCE)
    return machine.returncode, errors


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "Ctrl+C"]
)
def test_processes_that_only_start_are_ended(start, tmp_path, number, status):
    first = start(2)
    wait_for(lambda: len(children(first)) == 2)
    first.send_signal(number)
    assert end(first) == (status, "")
    assert not list(tmp_path.iterdir())


def test_a_process_looks_whether_it_was_to_stop(tmp_path, monkeypatch):
    monkeypatch.setattr(processes.comm, "get_local_rank", lambda: 1)
    left = []
    monkeypatch.setattr(processes, "leave_group", lambda: left.append(True))
    (tmp_path / processes.STOP).touch()
    worked = []
    with pytest.raises(SystemExit) as stop:
        processes._work(worked.append, 1, (1,), tmp_path)
    assert stop.value.code == STOPPED
    assert (worked, left) == ([], [True])
    assert (tmp_path / f"1{processes.PROCESS}").exists()


def test_a_signal_is_noted_before_processes_are_looked_for(tmp_path, monkeypatch):
    seen = []

    def running(notes):
        seen.append((notes / processes.STOP).exists())
        return []

    monkeypatch.setattr(processes, "_running", running)
    with processes._passing_on(tmp_path) as asked:
        os.kill(os.getpid(), signal.SIGTERM)
    assert asked == [signal.SIGTERM]
    assert seen[0]


@pytest.mark.parametrize(
    ("number", "ranks", "fails", "statuses"),
    [
        (signal.SIGTERM, (0, 1), False, (143, 143)),
        (signal.SIGINT, (0, 1), True, (130, 130)),
        (signal.SIGTERM, (0,), False, (143, 2)),
    ],
    ids=["both machines", "both and another error", "the first machine"],
)
def test_two_machines_end_with_one_line_at_most(start, tmp_path, number, ranks, fails, statuses):
    if fails:
        (tmp_path / "fails").touch()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    machines = [start(1, 2, rank, url) for rank in (0, 1)]
    wait_for(lambda: all((tmp_path / str(rank)).exists() for rank in (0, 1)))
    for rank in reversed(ranks):
        machines[rank].send_signal(number)
    ends = [end(machine) for machine in machines]
    assert tuple(status for status, _ in ends) == statuses, ends
    assert ends[0][1] == ""
    line = ends[1][1]
    assert "Traceback" not in line
    assert line.count("\n") == (1 if fails or ranks == (0,) else 0)
    if fails:
        assert line == "while it was stopped: KeyError: 'something else'\n"
    elif ranks == (0,):
        assert line.startswith("error: another machine ended")


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (RuntimeError("[gloo/transport/tcp/pair.cc:561] Connection closed by peer [x]:1"), True),
        (RuntimeError("[gloo/transport/tcp/pair.cc:5] Read error: Connection reset by peer"), True),
        (dist.DistNetworkError("Broken pipe"), True),
        (RuntimeError("[gloo/transport/tcp/unbound_buffer.cc:78] Timed out waiting"), False),
        (RuntimeError("Connection closed by peer"), False),
        (OSError("gloo/transport/tcp/ Broken pipe"), False),
        (None, False),
    ],
)
def test_what_a_lost_process_looks_like(error, lost):
    assert is_lost_process(error) is lost
