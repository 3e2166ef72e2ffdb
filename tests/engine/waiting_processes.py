"""Processes that wait until they are stopped, as far as PyTorch allows in the way of a training.

python waiting_processes.py FOLDER PROCESSES MACHINES MACHINE_RANK DIST_URL

Each makes the file FOLDER/RANK when it waits. The first one leaves at once when it is asked, as in
an evaluation; the others wait for it, and raise an error of their own if FOLDER/fails exists.
"""

import signal
import sys
import time
from pathlib import Path

from detectron2.utils import comm

from selfsam_d2.engine.processes import run_in_processes
from selfsam_d2.engine.stop_hook import PASSED_ON, STOPPED
from selfsam_d2.errors import run_command


def leave(number, frame):
    raise SystemExit(STOPPED)


def ignore(number, frame):
    """The main process leaves first."""


def wait(folder):
    main = comm.is_main_process()
    for number in (signal.SIGTERM, signal.SIGINT, PASSED_ON):
        signal.signal(number, leave if main else ignore)
    (folder / str(comm.get_rank())).touch()
    while main:
        time.sleep(0.05)
    try:
        comm.synchronize()
    except RuntimeError:
        if (folder / "fails").exists():
            raise KeyError("something else") from None
        raise


if __name__ == "__main__":
    folder, count, machines, rank, url = sys.argv[1:]
    run_command(
        lambda: run_in_processes(
            wait,
            int(count),
            (Path(folder),),
            num_machines=int(machines),
            machine_rank=int(rank),
            dist_url=url,
        )
    )
