"""A command-line parser whose own errors are one line, like every other error of a command."""

from __future__ import annotations

import argparse
import re
from typing import NoReturn

from selfsam_d2.errors import InputError

__all__ = ["OneLineParser", "add_model_options"]

# What argparse says where an option of several values took a key of the config for one of them.
CONFIG_KEY = re.compile(r"invalid choice: '[A-Z][A-Z0-9_]*(\.[A-Z0-9_]+)+'")


class OneLineParser(argparse.ArgumentParser):
    """An ``ArgumentParser`` that raises :class:`InputError` instead of printing its usage."""

    def error(self, message: str) -> NoReturn:
        if message.startswith("unrecognized arguments"):
            message += " (a path with blanks goes into quotes)"
        elif CONFIG_KEY.search(message):
            message += " (KEY VALUE pairs go behind an option of one value, such as --output)"
        raise InputError("arguments", f"{message}; see --help")


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """What every command with a trained model takes: weights, config, device, KEY VALUE pairs.

    With the last ones the arguments are read by ``parse_intermixed_args``.
    """
    parser.add_argument("--weights", required=True, help="checkpoint, URL or name of weights")
    parser.add_argument(
        "--config-file", help="YAML of the model (default: that in the weights or beside them)"
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1 ... (default: that of the config)")
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="keys of the config")
