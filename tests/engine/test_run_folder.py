"""The folder of a run: trained in with the settings that it was begun with."""

import json
import subprocess

import pytest

from selfsam_d2.engine import run_folder
from selfsam_d2.engine.folder_lock import locked
from selfsam_d2.engine.run_folder import (
    begin_run,
    check_run,
    commits_of_trained,
    git_commit,
    read_seconds,
    write_seconds,
)
from selfsam_d2.errors import InputError

ONE, OTHER = {"SOLVER.EPOCHS": 10, "SEED": 0}, {"SOLVER.EPOCHS": 5, "SEED": 0}


def test_a_folder_that_is_trained_in_is_refused(tmp_path):
    with locked(tmp_path), pytest.raises(InputError, match="another training is going on in it"):
        check_run(tmp_path, ONE)
    check_run(tmp_path, ONE)


def test_a_run_goes_on_with_the_settings_that_it_was_begun_with(tmp_path):
    check_run(tmp_path / "none", ONE)
    begin_run(tmp_path, ONE)
    begin_run(tmp_path, OTHER)  # no checkpoint yet: it begins anew
    (tmp_path / "last_checkpoint").write_text("model_0000001.pth")
    begin_run(tmp_path, OTHER)
    for refuse in (begin_run, check_run):
        with pytest.raises(InputError, match=r"was begun with another SOLVER\.EPOCHS; delete it"):
            refuse(tmp_path, ONE)
    assert json.loads((tmp_path / "settings.json").read_text())["settings"] == OTHER
    (tmp_path / "settings.json").write_text("{}")
    with pytest.raises(InputError, match=r"settings\.json: cannot be read"):
        check_run(tmp_path, OTHER)


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", DEEP, '{"settings": [], "commits": []}', '{"settings": "a", "commits": []}'),
        *('{"settings": {}, "commits": "ab"}', '{"settings": {}, "commits": [3]}'),
    ],
)
def test_damaged_settings_are_named(tmp_path, content):
    (tmp_path / "last_checkpoint").write_text("model_0000001.pth")
    (tmp_path / "settings.json").write_text(content)
    for refuse in (begin_run, check_run, commits_of_trained):
        with pytest.raises(
            InputError, match=r"settings\.json: cannot be read .*; delete the folder"
        ):
            refuse(tmp_path, {})


@pytest.mark.parametrize("content", ["", "[]", "{}", DEEP, f'{{"seconds": 1{"0" * 400}}}'])
def test_a_damaged_time_is_named(tmp_path, content):
    (tmp_path / "last_checkpoint").write_text("model_0000001.pth")
    (tmp_path / "seconds.json").write_text(content)
    with pytest.raises(InputError, match=r"seconds\.json: cannot be read .*; delete the folder"):
        read_seconds(tmp_path)


def test_a_folder_without_settings_is_taken_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder, "git_commit", lambda root: "b")
    (tmp_path / "last_checkpoint").write_text("model_0000001.pth")
    check_run(tmp_path, ONE)
    assert begin_run(tmp_path, ONE) == "unknown, b"
    with pytest.raises(InputError, match="another SOLVER"):
        check_run(tmp_path, OTHER)


def test_the_code_of_each_start_is_kept(tmp_path, monkeypatch):
    commits = iter(["a", "b", "b", None])
    monkeypatch.setattr(run_folder, "git_commit", lambda root: next(commits))
    assert begin_run(tmp_path, ONE) == "a"
    assert begin_run(tmp_path, ONE) == "b"  # begun anew
    (tmp_path / "last_checkpoint").write_text("model_0000001.pth")
    assert begin_run(tmp_path, ONE) == "b"
    assert begin_run(tmp_path, ONE) == "b, unknown"


def test_code_without_git_has_no_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder, "git_commit", lambda root: None)
    assert begin_run(tmp_path, ONE) is None


def test_the_commit_is_that_of_the_tree_and_says_if_a_file_was_changed(tmp_path, monkeypatch):
    def git(*arguments):
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        command = ["git", "-C", str(tmp_path), *who, *arguments]
        return subprocess.check_output(command, text=True).strip()

    assert git_commit(tmp_path) is None
    git("init", "-q")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-qm", "First")
    git("tag", "-a", "v1", "-m", "v1")
    commit = git("rev-parse", "HEAD")
    assert git_commit(tmp_path) == commit
    (tmp_path / "file").write_text("2")
    assert git_commit(tmp_path) == f"{commit}-dirty"
    (tmp_path / "site-packages").mkdir()
    assert git_commit(tmp_path / "site-packages") is None
    monkeypatch.setenv("PATH", "")
    assert git_commit(tmp_path) is None


def test_the_time_of_a_run_that_begins_anew_is_not_counted(tmp_path):
    write_seconds(tmp_path, 7.5)
    assert read_seconds(tmp_path) == 0
    (tmp_path / "last_checkpoint").write_text("model_0000001.pth")
    assert read_seconds(tmp_path) == 7.5
    (tmp_path / "seconds.json").write_text("")
    with pytest.raises(InputError, match=r"seconds\.json: cannot be read"):
        read_seconds(tmp_path)
