#!/usr/bin/env python
"""Run configs x seeds x shifts and write one table, beside the figures of the paper.

    python tools/run_experiments.py --configs configs/monuseg_vitt.yaml \
        configs/ablations/monuseg_vitt_static.yaml --seeds 0 1 --shifts 0 8 --output output/results

What has a record is not run again, what was interrupted goes on from its last checkpoint: stop it
and start it again as often as needed, with the same keys. Below --output: a folder for each run,
``base_masks`` that the runs share, ``records/NAME.json`` (or --records), ``results.md``,
``results.csv``, ``results.json`` and ``results.png``. The figures are those of the last step.
``--eval-only`` trains nothing but evaluates again, with other keys of INFERENCE and POSTPROCESS,
what an earlier start trained below --output; its records lie in ``evaluation_records``, its tables
are ``evaluation.md`` and so on:

    python tools/run_experiments.py --configs configs/monuseg_vitt.yaml --seeds 0 1 \
        --output output/results --eval-only INFERENCE.SYMMETRIES 8

``--register NAME JSON IMAGE_ROOT`` (repeatable) makes a COCO file a dataset; ``KEY VALUE`` pairs
after ``--output`` override every config.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import Any

from selfsam_d2.engine.arguments import OneLineParser
from selfsam_d2.engine.experiments import plan_experiments
from selfsam_d2.engine.run_queue import run_queue
from selfsam_d2.engine.setup import add_register_option
from selfsam_d2.errors import InputError, run_command
from selfsam_d2.evaluation.experiment_table import format_csv, format_markdown, summarise_records
from selfsam_d2.evaluation.summary import write_json
from selfsam_d2.visualization.experiment_plot import draw_experiments


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--configs", nargs="+", required=True, metavar="YAML")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--shifts", nargs="+", type=float, help="px (default: that of each config)")
    parser.add_argument("--output", type=Path, required=True, help="folder of runs and tables")
    parser.add_argument("--records", type=Path, help="folder of records (default: see above)")
    parser.add_argument(
        "--table-only", action="store_true", help="run nothing, make the table of what is done"
    )
    parser.add_argument(
        "--eval-only", action="store_true", help="train nothing, evaluate what is trained"
    )
    add_register_option(parser)
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="keys of the configs")
    return parser.parse_intermixed_args()


def write_tables(records: list[dict[str, Any]], folder: Path, stem: str) -> str:
    """Write table and plot, all named stem; the Markdown is given back."""
    rows = summarise_records(records)
    markdown = format_markdown(rows)
    write_json(folder / f"{stem}.json", rows)
    try:
        (folder / f"{stem}.md").write_text(markdown, encoding="utf-8")
        (folder / f"{stem}.csv").write_text(format_csv(rows), encoding="utf-8")
        draw_experiments(rows, folder / f"{stem}.png")
    except OSError as error:
        raise InputError(folder, f"cannot be written ({error.strerror})") from error
    return markdown


def main() -> None:
    """Plan, run what is not done, write the tables."""
    arguments = parse_arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    experiments = plan_experiments(
        arguments.configs, arguments.seeds, arguments.shifts, arguments.overrides
    )
    register = [part for each in arguments.register for part in ("--register", *each)]
    stem, records_name = ("results", "records")
    if arguments.eval_only:
        stem, records_name = ("evaluation", "evaluation_records")
    records, failed = run_queue(
        experiments,
        arguments.output,
        arguments.records or arguments.output / records_name,
        register,
        train=not arguments.table_only,
        eval_only=arguments.eval_only,
    )
    if records:
        sys.stdout.write(write_tables(records, arguments.output, stem))
    if failed:
        raise InputError(f"{len(failed)} of {len(experiments)} runs failed, the first {failed[0]}")
    if not records:
        raise InputError(arguments.output, "no run is done yet; leave out --table-only")


if __name__ == "__main__":
    run_command(main)
