"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import time
from pathlib import Path

import pytest
import torch

from selfsam_d2 import files
from selfsam_d2.errors import OutputError
from selfsam_d2.files import writing
from selfsam_d2.weights.saving import save_tensors


@pytest.mark.parametrize("shared", [False, True])
def test_the_file_is_there_when_all_went_well(tmp_path: Path, shared: bool) -> None:
    path = tmp_path / "new" / "a.txt"
    with writing(path, shared=shared) as draft:
        draft.write_text("old")
        assert not path.exists()
    with writing(path, shared=shared) as draft:
        draft.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert [each.name for each in path.parent.iterdir()] == ["a.txt"]


def test_who_reads_the_old_file_goes_on_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with path.open() as reader:
        with writing(path) as draft:
            draft.write_text("new")
        assert reader.read() == "old"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_what_was_there_stays_where_the_writing_breaks_off(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def break_off() -> None:
        with writing(path) as draft:
            draft.write_text("half")
            raise error

    with pytest.raises(error):
        break_off()
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("folders", [True, False], ids=["", "folders cannot be flushed"])
def test_content_is_on_the_disk_before_its_name_and_that_before_the_next_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folders: bool
) -> None:
    done: list[str] = []
    replace = os.replace

    def fsync(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        if is_folder and not folders:
            raise OSError(errno.EINVAL, "Invalid argument")
        done.append("folder" if is_folder else "file")

    def rename(draft: Path, path: Path) -> None:
        replace(draft, path)
        done.append("name")

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", rename)
    with writing(tmp_path / "a.txt") as draft:
        draft.write_text("new")
    assert done == ["file", "name", *["folder"] * folders]
    assert (tmp_path / "a.txt").read_text() == "new"


def test_what_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "a.txt"
    expected = r"a\.txt: cannot be written \(.+\); go elsewhere$"
    with pytest.raises(OutputError, match=expected), writing(path, remedy="go elsewhere"):
        pass


@pytest.mark.parametrize("numbers", [10, 10**7])
def test_a_full_disk_leaves_the_old_tensors(tmp_path: Path, numbers: int) -> None:
    path = tmp_path / "model.pth"
    save_tensors({"a": torch.ones(3)}, path)
    (tmp_path / ".model.pth.part").symlink_to("/dev/full")
    with pytest.raises(OutputError, match=r"model\.pth: cannot be written \(No space left"):
        save_tensors({"a": torch.zeros(numbers)}, path)
    assert torch.load(path, weights_only=True)["a"].tolist() == [1, 1, 1]
    assert [each.name for each in tmp_path.iterdir()] == ["model.pth"]


def test_writers_of_one_process_number_do_not_take_each_others_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in containers and on several machines, whose process numbers repeat."""
    monkeypatch.setattr(os, "getpid", lambda: 7)
    path = tmp_path / "a.txt"
    with writing(path, shared=True) as first, writing(path, shared=True) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"
    assert [each.name for each in tmp_path.iterdir()] == ["a.txt"]


def test_drafts_of_killed_writers_are_removed_after_a_day(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with writing(tmp_path / "other.txt", shared=True) as draft:
        draft.touch()
        name = draft.name
    old, new = (tmp_path / name.replace("other", each) for each in ("a", "b"))
    foreign = [tmp_path / each for each in (".a.txt.part", "a.part", ".a.0123.part")]
    for each in (old, new, *foreign):
        each.write_text("half")
    day_and_a_bit = time.time() - 25 * 3600
    for each in (old, *foreign):
        os.utime(each, (day_and_a_bit, day_and_a_bit))
    files.remove_killed_drafts.cache_clear()  # as in another process
    with writing(path, shared=True) as draft:
        draft.write_text("whole")
    left = {each.name for each in tmp_path.iterdir()}
    assert left == {"a.txt", "other.txt", new.name, *(each.name for each in foreign)}
