"""The share of mutants that the tests see, of what ``mutmut run`` found, module by module.

``python -m tests.mutation_share --least 85``: status 1 where fewer per cent are seen, or where
mutants were not run. A mutant is seen where a test fails with it or runs without end.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections import Counter, defaultdict

from tabulate import tabulate

SEEN = ("killed", "timeout")
LINE = re.compile(r"\s*(?P<module>selfsam_d2[\w.]*)\.[^.]+__mutmut_\d+: (?P<outcome>.+)")


def counts(lines: list[str]) -> dict[str, Counter[str]]:
    """Outcomes by module, from lines as ``selfsam_d2.a.b.x_function__mutmut_1: killed``."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for line in lines:
        if match := LINE.fullmatch(line):
            found[match["module"]][match["outcome"]] += 1
    return dict(found)


def share(outcomes: Counter[str]) -> float:
    """Seen ones in per cent of all."""
    return 100 * sum(outcomes[each] for each in SEEN) / outcomes.total()


def table(found: dict[str, Counter[str]]) -> str:
    """A row for each module, and their sum."""
    rows = [*sorted(found.items()), ("all", sum(found.values(), Counter()))]
    columns = sorted({outcome for outcomes in found.values() for outcome in outcomes})
    return tabulate(
        [
            [name, outcomes.total(), *(outcomes[each] for each in columns), share(outcomes)]
            for name, outcomes in rows
        ],
        headers=["module", "mutants", *columns, "% seen"],
        tablefmt="github",
        floatfmt=".1f",
    )


def main() -> int:
    """Print the table; the status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--least", type=float, required=True, metavar="PERCENT")
    least = parser.parse_args().least
    command = [sys.executable, "-m", "mutmut", "results", "--all", "true"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True)
    found = counts(listed.stdout.splitlines())
    if not found:
        sys.stderr.write("no mutants: make mutants\n")
        return 1
    sys.stdout.write(table(found) + "\n")
    outcomes = sum(found.values(), Counter())
    return int(outcomes["not checked"] > 0 or share(outcomes) < least)


if __name__ == "__main__":
    sys.exit(main())
