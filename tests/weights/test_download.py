from __future__ import annotations

import hashlib
import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from selfsam_d2.weights.cache import is_intact
from selfsam_d2.weights.download import DownloadError, download

CONTENT = bytes(range(256)) * 4096
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def leftovers(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_whole_file_arrives_with_its_record(file_server: Any, tmp_path: Path) -> None:
    file_server.content = CONTENT
    target = download(file_server.url, tmp_path / "w.pth", SHA256)
    assert target.read_bytes() == CONTENT
    assert leftovers(tmp_path) == {"w.pth", "w.pth.json"}
    assert json.loads((tmp_path / "w.pth.json").read_text())["sha256"] == SHA256
    assert file_server.asked == [None]


def test_an_interrupted_transfer_goes_on_where_it_stopped(file_server: Any, tmp_path: Path) -> None:
    file_server.content, file_server.cut_after, file_server.cuts = CONTENT, 300_000, 2
    target = download(file_server.url, tmp_path / "w.pth", SHA256)
    assert target.read_bytes() == CONTENT
    assert file_server.asked == [None, "bytes=300000-", "bytes=600000-"]


def test_a_later_run_continues_the_part_of_an_earlier_one(file_server: Any, tmp_path: Path) -> None:
    file_server.content = CONTENT
    (tmp_path / "w.pth.part").write_bytes(CONTENT[:1000])
    assert download(file_server.url, tmp_path / "w.pth", SHA256).read_bytes() == CONTENT
    assert file_server.asked == ["bytes=1000-"]


def test_a_part_of_other_content_is_thrown_away(file_server: Any, tmp_path: Path) -> None:
    file_server.content = CONTENT
    (tmp_path / "w.pth.part").write_bytes(b"?" * 1000)
    assert download(file_server.url, tmp_path / "w.pth", SHA256).read_bytes() == CONTENT
    assert file_server.asked == ["bytes=1000-", None]


def test_a_part_that_is_already_whole_is_taken(file_server: Any, tmp_path: Path) -> None:
    (tmp_path / "w.pth.part").write_bytes(CONTENT)
    assert download(file_server.url, tmp_path / "w.pth", SHA256).read_bytes() == CONTENT
    assert file_server.asked == []


def test_a_part_longer_than_the_file_is_fetched_anew(file_server: Any, tmp_path: Path) -> None:
    file_server.content = CONTENT
    (tmp_path / "w.pth.part").write_bytes(CONTENT + b"more")
    assert download(file_server.url, tmp_path / "w.pth", SHA256).read_bytes() == CONTENT
    assert file_server.asked == [f"bytes={len(CONTENT) + 4}-", None]


def test_a_server_without_ranges_sends_the_file_from_the_start(
    file_server: Any, tmp_path: Path
) -> None:
    file_server.content, file_server.ranges = CONTENT, False
    (tmp_path / "w.pth.part").write_bytes(CONTENT[:1000])
    assert download(file_server.url, tmp_path / "w.pth", SHA256).read_bytes() == CONTENT


@pytest.mark.parametrize("etag", ['"two"', ""])
def test_a_part_of_an_unknown_file_continues_only_at_the_same_version(
    file_server: Any, tmp_path: Path, etag: str
) -> None:
    file_server.content, file_server.cut_after, file_server.cuts = b"x" * 5000, 2000, 1
    file_server.etag = ""
    (tmp_path / "w.pth.part").write_bytes(b"old")
    if etag:
        file_server.etag = etag
        (tmp_path / "w.pth.part.validator").write_text('"one"')
    assert download(file_server.url, tmp_path / "w.pth").read_bytes() == b"x" * 5000


def test_the_wrong_content_is_refused_and_not_kept(file_server: Any, tmp_path: Path) -> None:
    file_server.content = b"something else"
    with pytest.raises(DownloadError, match="sha256"):
        download(file_server.url, tmp_path / "w.pth", SHA256)
    assert leftovers(tmp_path) == set()


def test_a_file_that_always_ends_early_is_given_up_and_its_part_kept(
    file_server: Any, tmp_path: Path
) -> None:
    file_server.content, file_server.cut_after, file_server.cuts = CONTENT, 10, 99
    with pytest.raises(DownloadError, match="40 of"):
        download(file_server.url, tmp_path / "w.pth", SHA256)
    assert (tmp_path / "w.pth.part").read_bytes() == CONTENT[:40]
    assert not (tmp_path / "w.pth").exists()


def test_a_silent_server_is_left_after_the_time_out(file_server: Any, tmp_path: Path) -> None:
    file_server.hang = True
    start = time.monotonic()
    with pytest.raises(DownloadError, match=r"no answer within 0\.2 s"):
        download(file_server.url, tmp_path / "w.pth", SHA256, timeout=0.2)
    assert time.monotonic() - start < 3


def test_refusals_and_dead_addresses_are_named(file_server: Any, tmp_path: Path) -> None:
    file_server.status = 404
    with pytest.raises(DownloadError, match="404"):
        download(file_server.url, tmp_path / "w.pth", SHA256)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(DownloadError, match="not reachable"):
        download(f"http://127.0.0.1:{port}/x", tmp_path / "w.pth", SHA256, timeout=2)
    assert leftovers(tmp_path) == set()


def test_damage_in_the_cache_is_noticed(file_server: Any, tmp_path: Path) -> None:
    file_server.content = CONTENT
    target = download(file_server.url, tmp_path / "w.pth", SHA256)
    assert is_intact(target)
    assert is_intact(target, SHA256)
    assert not is_intact(target, "0" * 64)

    target.touch()
    assert is_intact(target, SHA256), "an unchanged file with a new date is hashed and accepted"

    (tmp_path / "w.pth.json").write_text("[" * 100_000)
    assert not is_intact(target), "a damaged record is none"
    assert is_intact(target, SHA256)

    with target.open("r+b") as stream:
        stream.seek(5000)
        stream.write(b"!")
    assert not is_intact(target)
    assert not is_intact(target, SHA256)

    target.write_bytes(CONTENT[:-1])
    assert not is_intact(target, SHA256)
    assert not is_intact(tmp_path / "missing", SHA256)
