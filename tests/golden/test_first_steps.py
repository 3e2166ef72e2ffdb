"""What a training computes stays what it is: losses of three steps beside those of another day."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.golden.families import FAMILIES, GOLDEN, first_steps

EXPECTED = json.loads(GOLDEN.read_text())
TOLERANCE = 2e-4  # relative: other processors and numbers of threads made 2e-5


def test_every_family_has_its_figures() -> None:
    assert EXPECTED.keys() == FAMILIES.keys()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_first_steps_are_those_of_another_day(family: str, tmp_path: Path) -> None:
    found = first_steps(family, tmp_path)
    assert len(found) == len(EXPECTED[family]) == 3
    for step, expected in zip(found, EXPECTED[family], strict=True):
        assert step == pytest.approx(expected, rel=TOLERANCE, abs=1e-6)
