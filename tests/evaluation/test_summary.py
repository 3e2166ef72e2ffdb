"""The report of an evaluation."""

from __future__ import annotations

import json
import math
import os

import pytest

from selfsam_d2.errors import InputError
from selfsam_d2.evaluation.summary import format_table, summarise, write_json

SCORES = {
    "one": {"Dice": 0.5, "AJI": 0.25},
    "blank": {"Dice": math.nan, "AJI": math.nan},
    "two": {"Dice": 1.0, "AJI": 0.0},
}


def test_mean_leaves_out_images_that_are_empty_in_both():
    assert summarise(SCORES) == {
        "mean": {"Dice": 0.75, "AJI": 0.125},
        "images": {**SCORES, "blank": {"Dice": None, "AJI": None}},
        "both_empty": 1,
    }


def test_mean_over_no_image_is_none():
    summary = summarise({"blank": SCORES["blank"]})
    assert summary["mean"] == {"Dice": None, "AJI": None}
    assert summary["both_empty"] == 1


def test_table_has_a_row_for_each_image_and_the_mean():
    lines = format_table(summarise(SCORES)).splitlines()
    assert lines[0].split() == ["image", "Dice", "AJI"]
    assert lines[2].split() == ["one", "0.5000", "0.2500"]
    assert lines[3].split() == ["blank", "-", "-"]
    assert lines[4].split() == ["two", "1.0000", "0.0000"]
    assert lines[5].split() == ["mean", "of", "2", "0.7500", "0.1250"]
    assert lines[6].endswith("both empty: 1")


def test_table_keeps_numeric_file_names():
    table = format_table(summarise({"007": {"Dice": 0.5}}))
    assert table.splitlines()[2].split() == ["007", "0.5000"]


def test_the_file_is_text_that_people_and_other_programs_read(tmp_path):
    path = tmp_path / "metrics.json"
    write_json(path, {"images": {"ä": 0.5}})
    assert path.read_bytes() == b'{\n  "images": {\n    "\\u00e4": 0.5\n  }\n}\n'
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"mean": math.nan})
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"metrics.json: cannot be written .*; choose another fil"):
        write_json(tmp_path / "file" / "metrics.json", {})


def test_write_json_replaces_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "new" / "metrics.json"
    write_json(path, {"mean": {"Dice": 0.5}})
    write_json(path, summarise(SCORES))
    assert json.loads(path.read_text()) == summarise(SCORES)
    assert [entry.name for entry in path.parent.iterdir()] == ["metrics.json"]
    reference = tmp_path / "ordinary"
    reference.touch()
    assert path.stat().st_mode == reference.stat().st_mode


def test_write_json_keeps_the_old_file_when_the_new_one_fails(tmp_path, monkeypatch):
    path = tmp_path / "metrics.json"
    write_json(path, {"mean": 1})

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(InputError, match="No space left on device"):
        write_json(path, {"mean": 2})
    assert json.loads(path.read_text()) == {"mean": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["metrics.json"]


def test_write_json_errors(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        write_json(tmp_path / "file" / "metrics.json", {})
    with pytest.raises(InputError, match="cannot be written"):
        write_json(tmp_path, {})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "metrics.json", {"mean": math.nan})
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
