"""A command-line parser whose own errors are one line, like every other error of a command."""

from __future__ import annotations

import argparse
from typing import NoReturn

from selfsam_d2.errors import InputError

__all__ = ["OneLineParser"]


class OneLineParser(argparse.ArgumentParser):
    """An ``ArgumentParser`` that raises :class:`InputError` instead of printing its usage."""

    def error(self, message: str) -> NoReturn:
        raise InputError("arguments", f"{message}; see --help")
