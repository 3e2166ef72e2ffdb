"""``TEST.EXPECTED_RESULTS``: what an evaluation is compared with, as Detectron2's own."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from selfsam_d2.errors import InputError, shortened

__all__ = ["check_expectations", "verify_results"]

KEY = "TEST.EXPECTED_RESULTS"
EXAMPLE = "[['nuclei', 'AJI', 0.57, 0.01]]"


def check_expectations(cfg: Any) -> None:
    """Check their form, before hours are spent.

    Raises:
        InputError: not a list of task, metric, value, tolerance; several test datasets, or none.
    """
    expected = cfg.TEST.EXPECTED_RESULTS
    if not expected:
        return
    for each in expected:
        if not (
            isinstance(each, list | tuple)
            and [type(part) for part in each[:2]] == [str, str]
            and len(each) == 4
            and all(type(part) in (int, float) and math.isfinite(part) for part in each[2:])
            and each[3] >= 0
        ):
            raise InputError(
                f"{KEY} {shortened(each)}", f"expected task, metric, value, tolerance, as {EXAMPLE}"
            )
    if len(cfg.DATASETS.TEST) != 1:
        raise InputError(KEY, f"is for one dataset, but DATASETS.TEST has {len(cfg.DATASETS.TEST)}")


def verify_results(cfg: Any, results: Mapping[str, Mapping[str, float]] | None) -> None:
    """Compare an evaluation with what is expected; each comparison is logged.

    Args:
        cfg: with ``TEST.EXPECTED_RESULTS``: task, metric, value and tolerance of each.
        results: task -> metric -> value.

    Raises:
        InputError: a value is missing, not finite or farther off than its tolerance.
    """
    wrong = []
    for task, metric, value, tolerance in cfg.TEST.EXPECTED_RESULTS:
        found = (results or {}).get(task, {}).get(metric, math.nan)
        line = f"{task}/{metric} is {found:.4g}, expected {value:g} within {tolerance:g}"
        logging.getLogger(__name__).info(line)
        if not abs(found - value) <= tolerance:
            wrong.append(line if math.isfinite(found) else f"{task}/{metric} was not measured")
    if wrong:
        raise InputError(KEY, "; ".join(wrong))
