#!/usr/bin/env python
"""Write a .pkl of Detectron2's or Caffe2's model zoo anew as a .pth that runs no code.

    python tools/convert_weights.py R-50.pkl --output R-50.pth

A pickle can run any code, so that ``MODEL.WEIGHTS`` takes none. Here its arrays of numbers are read
without unpickling it; one that holds anything else is refused. Then: ``MODEL.WEIGHTS R-50.pth``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from selfsam_d2.engine.arguments import OneLineParser
from selfsam_d2.errors import InputError, run_command
from selfsam_d2.weights.pickled import read_pickled_weights
from selfsam_d2.weights.saving import save_tensors


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, help="weights of a model zoo (.pkl)")
    parser.add_argument("--output", type=Path, required=True, help="file to write (.pth)")
    return parser.parse_args()


def main() -> None:
    """Read the arrays, write them as tensors, say how many."""
    arguments = parse_arguments()
    if arguments.output.suffix != ".pth":
        raise InputError(arguments.output, "must end in .pth")
    checkpoint = read_pickled_weights(arguments.file)
    save_tensors(checkpoint, arguments.output)
    sys.stdout.write(f"{arguments.output}: {len(checkpoint['model'])} tensors\n")


if __name__ == "__main__":
    run_command(main)
