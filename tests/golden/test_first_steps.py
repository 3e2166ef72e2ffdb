"""What a training computes stays what it is: losses of three steps beside those of another day."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.golden.families import FAMILIES, GOLDEN, first_steps

EXPECTED = json.loads(GOLDEN.read_text())
# Relative. Other processors and numbers of threads made 2e-5 in the first step; in the third, of
# weights that moved twice, 2.3e-4 (ResNet).
TOLERANCES = (2e-4, 2e-3, 2e-3)


def test_every_family_has_its_figures() -> None:
    assert EXPECTED.keys() == FAMILIES.keys()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_first_steps_are_those_of_another_day(family: str, tmp_path: Path) -> None:
    found = first_steps(family, tmp_path)
    assert len(found) == len(EXPECTED[family]) == 3
    for step, expected, tolerance in zip(found, EXPECTED[family], TOLERANCES, strict=True):
        assert step == pytest.approx(expected, rel=tolerance, abs=1e-6)
