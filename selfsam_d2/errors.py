"""The error class of this package, and how a command reports it: one line, exit status 2."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

__all__ = [
    "InputError",
    "NonFiniteLossError",
    "OutputError",
    "SelfSAMError",
    "UnreadableImageError",
    "first_words",
    "run_command",
    "shortened",
]

EXIT_STATUS = 2
MOST_WORDS = 300  # characters
WORKER_ERROR_NAME = r"selfsam_d2\.\S*Error: "
WORKER_TRACEBACK = "Original Traceback (most recent call last):"


class SelfSAMError(Exception):
    """Base of every error that this package raises on purpose.

    The message is one line that names the file or value at fault and the remedy.
    """


class InputError(SelfSAMError):
    """A file, folder, key or value given by the user that cannot be used.

    Args:
        subject: what cannot be used; or, alone, the whole message.
        problem: what is wrong with it, and the remedy.
    """

    def __init__(self, subject: str | Path, problem: str | None = None) -> None:
        # One argument is enough to build it again: a data worker sends its message only.
        super().__init__(str(subject) if problem is None else f"{subject}: {problem}")


class UnreadableImageError(InputError):
    """An image that is missing, damaged or of a kind that is not read."""


class OutputError(InputError):
    """A file that cannot be written, as on a full disk: what follows cannot be either."""


class NonFiniteLossError(SelfSAMError):
    """A loss or a weight became NaN or infinite; names it, the image and where the batch lies."""


def first_words(error: Exception) -> str:
    """What a library says of a file, for a message: its first line, cut where it quotes the file.

    Args:
        error: of the library; its class stands for one that says nothing.
    """
    line, *_ = str(error).strip().splitlines() or [type(error).__name__]
    return shortened(line)


def shortened(value: object, most: int = MOST_WORDS) -> str:
    """What a file holds, for a message that quotes it: as text, cut where it is long.

    Args:
        value: of the file, whose text may have any length.
        most: characters that are kept.
    """
    text = str(value)
    return text if len(text) <= most else f"{text[:most]} ..."


def _one_line(error: SelfSAMError) -> str:
    message = str(error)
    if WORKER_TRACEBACK in message:
        # A data worker sends its error as text, the message proper behind the name of its class.
        message = re.split(WORKER_ERROR_NAME, message)[-1]
    return " ".join(message.split())


def run_command(main: Callable[[], None]) -> None:
    """Run a command-line entry point and turn a :class:`SelfSAMError` into one line on stderr.

    Args:
        main: the entry point, called with no argument.

    Raises:
        SystemExit: status 2 after an error of ours, 130 after Ctrl+C.
    """
    try:
        main()
    except SelfSAMError as error:
        sys.stderr.write(f"error: {_one_line(error)}\n")
        raise SystemExit(EXIT_STATUS) from None
    except KeyboardInterrupt:
        sys.stderr.write("stopped from the keyboard\n")
        raise SystemExit(130) from None
