"""Detectron2's log, for people: pages of settings go to the file alone, colours to terminals."""

from __future__ import annotations

import atexit
import logging
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

__all__ = ["start_logs"]

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
LONGEST = 25  # lines of a message of Detectron2 on the console: shorter than any config
OTHERS = ("detectron2", "fvcore")
OWN = "selfsam_d2"


class _Readable(logging.Formatter):
    """What another formatter makes, without colours, and cut to its first line where it is long.

    Args:
        inner: the other formatter.
        colours: leave them in.
        longest: number of lines above which a message is cut; None: never.
    """

    def __init__(self, inner: logging.Formatter, *, colours: bool, longest: int | None) -> None:
        super().__init__()
        self.inner = inner
        self.colours = colours
        self.longest = longest

    def format(self, record: logging.LogRecord) -> str:
        text = self.inner.format(record)
        if not self.colours:
            text = COLOUR.sub("", text)
        lines = text.splitlines()
        # Of an error everything is shown.
        routine = record.levelno <= logging.INFO and not record.exc_info
        if self.longest is not None and routine and len(lines) > self.longest:
            return f"{lines[0]} ({len(lines) - 1} more lines in log.txt)"
        return text


def _say_once(stream: TextIO) -> Callable[[logging.LogRecord], None]:
    """A handler's ``handleError``: what cannot be written is said once, not with each line."""
    said: list[str] = []

    def handle(record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            logging.Handler().handleError(record)  # a fault of the program
        elif not said and sys.stderr is not None:
            said.append(
                f"{stream.name}: cannot be written ({error.strerror}); lines of it are lost"
            )
            with suppress(OSError):
                sys.stderr.write(f"{said[0]}\n")

    return handle


def _close(stream: TextIO) -> None:
    with suppress(OSError):  # said already
        stream.close()


def start_logs(folder: str) -> None:
    """Log to the console and to ``folder/log.txt``, before ``default_setup`` does.

    Environment, config and network fill a thousand lines, before which the first useful one is not
    found: on the console they are one line each. ``log.txt`` has no colours, the console only where
    it is a terminal. Where one of them cannot be written any more, as on a full disk, this is said
    once on standard error, and the training goes on.

    Args:
        folder: OUTPUT_DIR.

    Raises:
        OSError: it cannot be written.
    """
    handlers: dict[TextIO, Callable[[logging.LogRecord], None]] = {}
    for name in (*OTHERS, OWN):
        # The handlers that Detectron2 finds there when it asks for the same logger.
        given = {} if name == "detectron2" else {"name": name}
        found = setup_logger(folder, distributed_rank=comm.get_rank(), **given)
        for handler in found.handlers:
            if not isinstance(handler, logging.StreamHandler) or handler.formatter is None:
                continue
            if isinstance(handler.formatter, _Readable):
                continue
            console = handler.stream is sys.stdout
            if handler.stream not in handlers:
                handlers[handler.stream] = _say_once(handler.stream)
                if not console:
                    # Detectron2's own closing at the end fails with a traceback.
                    atexit.unregister(handler.stream.close)
                    atexit.register(_close, handler.stream)
            handler.handleError = handlers[handler.stream]  # type: ignore[assignment,method-assign]
            handler.setFormatter(
                _Readable(
                    handler.formatter,
                    colours=console and sys.stdout.isatty(),
                    longest=LONGEST if console and name in OTHERS else None,
                )
            )
