"""What of Detectron2's log is shown where."""

from __future__ import annotations

import logging
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
