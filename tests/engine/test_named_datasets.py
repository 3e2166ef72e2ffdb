"""Datasets of ``--register``: they and the config must fit, and the report finds them again."""

import json

import pytest

from selfsam_d2.data.registration import register_nuclei_instances
from selfsam_d2.engine.named_datasets import (
    DATASETS_FILE,
    check_named,
    keep_datasets,
    kept_datasets,
)
from selfsam_d2.engine.setup import load_config
from selfsam_d2.errors import InputError
from selfsam_d2.structures.image_files import MAX_TEXT

FILES = ("my set.json", "my/images")


@pytest.fixture
def cfg():
    made = load_config("", [])
    made.DATASETS.TRAIN, made.DATASETS.TEST = ("named_mine",), ()
    return made


def test_another_name_than_the_config_trains_on_is_answered_with_both_ways_out(cfg):
    with pytest.raises(InputError) as found:
        check_named([("lung", *FILES)], cfg)
    assert str(found.value) == (
        "--register lung: the config trains on 'named_mine'; say --register named_mine "
        "'my set.json' my/images, or put DATASETS.TRAIN lung at the end"
    )


def test_what_the_config_names_or_knows_is_no_error(cfg, tmp_path):
    check_named([], cfg)  # said elsewhere: the dataset is unknown
    check_named([("named_mine", *FILES)], cfg)
    cfg.DATASETS.TEST = ("lung",)
    check_named([("lung", *FILES)], cfg)
    register_nuclei_instances("named_known", tmp_path / "a.json", tmp_path)
    cfg.DATASETS.TRAIN = ("named_known",)
    check_named([("spare", *FILES)], cfg)


def test_they_are_found_again_from_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my").mkdir()
    for name in ("a.json", "b.json"):
        (tmp_path / "my" / name).write_text("{}")
    assert kept_datasets("run") == []
    keep_datasets("run", [("a", "my/a.json", "my"), ("b", "my/b.json", "my/ä")])
    monkeypatch.chdir(tmp_path / "my")
    kept = kept_datasets(tmp_path / "run")
    expected = [(name, f"{tmp_path}/my/{name}.json") for name in "ab"]
    assert [each[:2] for each in kept] == expected
    assert [each[2] for each in kept] == [f"{tmp_path}/my", f"{tmp_path}/my/ä"]
    (tmp_path / "my" / "a.json").unlink()
    assert [each[0] for each in kept_datasets(tmp_path / "run")] == ["b"]
    # Paths that cannot be are of no file.
    (tmp_path / "run" / DATASETS_FILE).write_text(json.dumps({"a": ["é" * 300, "x"]}))
    assert kept_datasets(tmp_path / "run") == []


@pytest.mark.parametrize("content", ["", "[]", '{"a": 3}', '{"a": ["b"]}', "[" * 5000])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / DATASETS_FILE).write_text(content)
    with pytest.raises(InputError, match=f"{DATASETS_FILE}: damaged; remove it"):
        kept_datasets(tmp_path)


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    with (tmp_path / DATASETS_FILE).open("wb") as file:
        file.truncate(MAX_TEXT + 1)  # takes no room on the disk
    with pytest.raises(InputError, match=f"{DATASETS_FILE}: is larger than 512 MiB; remove it"):
        kept_datasets(tmp_path)


def test_the_file_can_be_read_by_people(tmp_path):
    keep_datasets(tmp_path, [("a", "/x/a.json", "/x")])
    content = (tmp_path / DATASETS_FILE).read_text()
    assert json.loads(content) == {"a": ["/x/a.json", "/x"]}
    assert len(content.splitlines()) > 1
