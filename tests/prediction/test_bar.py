"""The progress bar, on a terminal that the test holds the other end of."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import sys
import termios
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from selfsam_d2.prediction.options import Outputs, Tiling
from selfsam_d2.prediction.run import plan, predict_images
from selfsam_d2.prediction.sources import find_sources

# 3/8 [00:01<00:02,  2.50part/s]: parts done and all, time gone and left.
STEP = re.compile(r"(\d+)/(\d+) \[\d\d:\d\d<(\d\d:\d\d|\?),")


def read_all(terminal: int, pieces: list[bytes]) -> None:
    """What comes until the other end is closed, which Linux reports as an error."""
    with suppress(OSError):
        while piece := os.read(terminal, 4096):
            pieces.append(piece)


def test_tiles_and_images_move_the_bar_which_tells_the_time_left(
    tmp_path: Path, planted: Any, svs: Any, finder: Any, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    (tmp_path / "in").mkdir()
    svs(tmp_path / "in" / "a.svs", planted(150, 120, [(30, 30), (90, 80)]))
    for name in "bc":
        Image.fromarray(planted(40, 40, [(20, 20)])).save(tmp_path / "in" / f"{name}.png")
    outputs = Outputs(tmp_path / "out", ("csv",), tiling=Tiling(64, 16, tissue_only=False))
    tasks = plan(find_sources([str(tmp_path / "in")], 0.25), outputs)

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    with os.fdopen(theirs, "w", encoding="utf-8") as terminal, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", terminal)
        patch.setattr("tqdm.std.tqdm.monitor_interval", 0)
        pieces: list[bytes] = []
        reading = threading.Thread(target=read_all, args=(ours, pieces))
        reading.start()
        predict_images(finder(0.25), tasks, outputs)
    reading.join()
    os.close(ours)
    shown = b"".join(pieces).decode()

    steps = STEP.findall(shown)
    parts = 6 + 2  # tiles of the slide, images
    assert {int(whole) for _, whole, _ in steps} == {parts}
    done = [int(number) for number, _, _ in steps]
    assert done == sorted(done)
    assert done[0] == 0
    assert done[-1] == parts
    assert steps[-1][2] == "00:00"
    # What is said goes to stdout, each line whole.
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[-1].startswith("3 images predicted")
    assert np.char.startswith(lines[:3], str(tmp_path / "in")).all()


def test_without_a_terminal_there_is_no_bar(
    tmp_path: Path, planted: Any, finder: Any, capfd: Any
) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(planted(40, 40, [(20, 20)])).save(tmp_path / "in" / "a.png")
    outputs = Outputs(tmp_path / "out", ("csv",))
    predict_images(finder(0.25), plan(find_sources([str(tmp_path / "in")], 0.25), outputs), outputs)
    assert capfd.readouterr().err == ""
