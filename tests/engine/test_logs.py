"""What of Detectron2's log is shown where."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from detectron2.utils.logger import setup_logger

from selfsam_d2.engine.logs import LONGEST, start_logs

NAMES = ("detectron2", "fvcore", "selfsam_d2")
RED = "\x1b[38;5;204mred\x1b[39m"


class Terminal:
    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def fresh_loggers() -> Any:
    """Loggers without the handlers of other tests, which are put back."""
    loggers = [logging.getLogger(name) for name in NAMES]
    before = [each.handlers[:] for each in loggers]
    for each in loggers:
        each.handlers.clear()
    yield
    for each, handlers in zip(loggers, before, strict=True):
        each.handlers[:] = handlers


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("level", [logging.INFO, logging.WARNING])
@pytest.mark.parametrize("lines", [LONGEST, LONGEST + 1])
def test_long_messages_of_detectron2_are_one_line_on_the_console(
    name: str, level: int, lines: int, tmp_path: Path, capsys: Any
) -> None:
    start_logs(str(tmp_path))
    message = "\n".join(["Model:", *(f"{RED} {number}" for number in range(lines - 1))])
    logging.getLogger(f"{name}.engine").log(level, message)
    shown = capsys.readouterr().out.splitlines()
    if name != "selfsam_d2" and level == logging.INFO and lines > LONGEST:
        (line,) = shown
        assert line.endswith(f"]: Model: ({LONGEST} more lines in log.txt)")
    else:
        assert [line[-5:].strip() for line in shown[1:3]] == ["red 0", "red 1"]
        assert len(shown) == lines
    written = (tmp_path / "log.txt").read_text().splitlines()
    assert len(written) == lines
    assert written[-1] == f"red {lines - 2}"
    assert "\x1b" not in "".join(shown)


def test_a_traceback_is_shown_whole(tmp_path: Path, capsys: Any) -> None:
    start_logs(str(tmp_path))
    try:
        raise ValueError("\n" * 2 * LONGEST)
    except ValueError:
        logging.getLogger("detectron2").info("failed", exc_info=True)
    assert len(capsys.readouterr().out.splitlines()) > 2 * LONGEST


def test_a_terminal_has_colours_the_file_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal(sys.stdout))
    start_logs(str(tmp_path))
    logging.getLogger("detectron2").info(RED)
    assert RED in capsys.readouterr().out
    assert (tmp_path / "log.txt").read_text().endswith(" red\n")


def test_detectron2_adds_no_handlers_of_its_own(tmp_path: Path) -> None:
    start_logs(str(tmp_path))
    start_logs(str(tmp_path))
    setup_logger(str(tmp_path), distributed_rank=0, name="fvcore")
    setup_logger(str(tmp_path), distributed_rank=0)
    for name in NAMES:
        kinds = [type(handler) for handler in logging.getLogger(name).handlers]
        assert kinds.count(logging.StreamHandler) == 2  # pytest has some, too


FULL = """
import logging, sys
from selfsam_d2.engine.logs import start_logs
start_logs(sys.argv[1])
for name in ("selfsam_d2", "detectron2", "selfsam_d2"):
    logging.getLogger(name).info("said to %s", name)
logging.getLogger("selfsam_d2").info("%d", "no number")
"""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full disk is /dev/full here")
def test_a_full_disk_is_said_once_and_the_console_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.symlink_to("/dev/full")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FULL, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.count("said to ") == 3
    lines = [each for each in done.stderr.splitlines() if "space left" in each]
    assert lines == [f"{path}: cannot be written (No space left on device); lines of it are lost"]
    # A fault of the program is still seen.
    assert "TypeError: %d format" in done.stderr
