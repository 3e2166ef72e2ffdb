"""Score a folder of predicted label maps against a folder of true ones.

    python tools/evaluate.py --gt DIR --pred DIR [--json FILE]

Label maps are PNG, TIFF or npy files of integers (0 background, one id per nucleus, gaps allowed),
paired by file stem. The table goes to stdout: a row per image and the mean, values from 0 to 1.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from selfsam_d2.engine.arguments import OneLineParser
from selfsam_d2.errors import run_command
from selfsam_d2.evaluation.folders import evaluate_pairs, pair_label_maps
from selfsam_d2.evaluation.summary import format_table, summarise, write_json


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gt", type=Path, required=True, help="folder of true label maps")
    parser.add_argument("--pred", type=Path, required=True, help="folder of predicted label maps")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    return parser.parse_args()


def main() -> None:
    """Score, print the table, write the file."""
    arguments = parse_arguments()
    matched = pair_label_maps(arguments.gt, arguments.pred)
    summary = summarise(evaluate_pairs(matched.pairs))
    sys.stdout.write(format_table(summary) + "\n")
    if matched.extra:
        sys.stdout.write(f"not scored, no true label map: {', '.join(matched.extra)}\n")
    if arguments.json is not None:
        write_json(arguments.json, summary)


if __name__ == "__main__":
    run_command(main)
