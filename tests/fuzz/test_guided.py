"""Damaged files led by coverage, by atheris: as test_readers.py, and the reader's code chooses."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.readers import READERS

ROOT = Path(__file__).parents[2]
SECONDS = 30
# Where setup.py asks for atheris: there it has to be there.
INSTALLS = (
    sys.platform == "linux"
    and platform.machine() == "x86_64"
    and (3, 11) <= sys.version_info[:2] < (3, 14)
)
pytestmark = pytest.mark.skipif(not INSTALLS, reason="atheris has no wheel for this Python")

PLANTED = """
import sys
import atheris
from tests.fuzz import guided
from tests.fuzz.reader import Reader

@atheris.instrument_func
def read(path):
    content = path.read_bytes()
    if content[:1] == b"A":
        if content[1:2] == b"B":
            if content[2:3] == b"C":
                raise ZeroDivisionError
guided.READERS["planted"] = Reader("a", b"xyz", read)
guided.main("planted", *sys.argv[1:])
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    # What `make coverage` measures would be measured twice.
    others = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE_")}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**others, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_reader_that_ends_otherwise_is_found(tmp_path: Path) -> None:
    # By chance alone the three bytes take millions of files.
    done = run("-c", PLANTED, str(tmp_path), "-runs=200000", "-seed=1")
    assert done.returncode != 0
    assert "ZeroDivisionError" in done.stdout + done.stderr
    (found,) = tmp_path.glob("crash-*")
    assert found.read_bytes().startswith(b"ABC")


@pytest.mark.long
@pytest.mark.parametrize("name", READERS)
def test_what_runs_new_code_is_read_or_named(name: str, tmp_path: Path) -> None:
    done = run("-m", "tests.fuzz.guided", name, str(tmp_path), f"-max_total_time={SECONDS}")
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    (tried,) = re.findall(r"Done (\d+) runs", done.stderr)
    sys.stdout.write(f"{name}: {tried} files tried\n")  # shown by -rP
    assert int(tried) > 20  # curves that are drawn take the longest, half a second
