"""Freed memory stays in the process."""

import subprocess
import sys

import pytest

# Frees 200 MB and says how much of it the process still holds, in MB.
PROGRAM = """
import resource, sys
import numpy as np
from selfsam_d2.engine.memory import keep_freed_memory

def resident():
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * resource.getpagesize() / 2**20

if sys.argv[1] == "keep":
    assert keep_freed_memory()
before = resident()
arrays = [np.ones(2**20) for _ in range(25)]
del arrays
print(resident() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
@pytest.mark.parametrize(("mode", "kept"), [("keep", True), ("default", False)])
def test_memory_of_freed_arrays_is_kept_only_if_asked(mode, kept):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, mode], capture_output=True, text=True, check=True
    )
    assert (float(done.stdout) > 150) is kept
