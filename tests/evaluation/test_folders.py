"""Label maps of two folders, paired by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from selfsam_d2.errors import InputError
from selfsam_d2.evaluation.folders import LabelMapPairs, pair_label_maps


def folder_of(path: Path, *stems: str) -> Path:
    path.mkdir()
    for stem in stems:
        np.save(path / f"{stem}.npy", np.zeros((3, 4), dtype=np.int32))
    return path


def test_maps_of_one_name_are_a_pair_and_other_predictions_are_named(tmp_path: Path) -> None:
    true, pred = folder_of(tmp_path / "t", "a", "b"), folder_of(tmp_path / "p", "a", "b", "x", "y")
    pairs = {stem: (true / f"{stem}.npy", pred / f"{stem}.npy") for stem in ("a", "b")}
    assert pair_label_maps(true, pred) == LabelMapPairs(pairs, ("x", "y"))


@pytest.mark.parametrize(
    ("stems", "named"),
    [("b", "b"), ("bcd", "b, c, d"), ("bcde", "b, c, d and 1 more")],
)
def test_what_has_no_prediction_is_named_up_to_three(
    stems: str, named: str, tmp_path: Path
) -> None:
    true, pred = folder_of(tmp_path / "t", "a", *stems), folder_of(tmp_path / "p", "a")
    with pytest.raises(InputError) as raised:
        pair_label_maps(str(true), str(pred))
    assert str(raised.value) == (
        f"{pred}: no prediction for {named}; each true label map needs one of its stem"
    )
