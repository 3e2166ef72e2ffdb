"""Damaged files: a reader reads them, or says in one line what is wrong, and does nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.damage import damaged_bytes, damaged_json
from tests.fuzz.own_files import OWN_FILES
from tests.fuzz.readers import READERS
from tests.fuzz.reading import as_bytes, read

ARCHIVES = ("base cache, index", "base cache, values", "label store", "crop views", "tile")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.mark.parametrize("name", READERS)
def test_what_is_whole_is_read(name: str, tmp_path: Path) -> None:
    reader = READERS[name]
    path = tmp_path / reader.name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(as_bytes(reader.content))
    reader.read(path)


@pytest.mark.parametrize("name", READERS)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_what_is_damaged_is_read_or_named(name: str, folder: Path, data: st.DataObject) -> None:
    reader = READERS[name]
    damage = damaged_bytes if isinstance(reader.content, bytes) else damaged_json
    read(reader, as_bytes(data.draw(damage(reader.content))), folder / name)


@pytest.mark.parametrize("name", READERS)
def test_what_is_something_else_is_named(name: str, tmp_path: Path) -> None:
    reader = READERS[name]
    others = {as_bytes(other.content) for other in READERS.values()}
    for content in (b"", b"\0" * 100, b"[" * 5000, b"<a>" * 5000, b"1" * 5000, *sorted(others)):
        read(reader, content, tmp_path)


@pytest.mark.parametrize("name", ARCHIVES)
def test_each_byte_of_a_kept_file_may_be_another(name: str, folder: Path) -> None:
    """Zip files have fields for what zipfile does not know, such as encryption."""
    reader = OWN_FILES[name]
    for place in range(0, len(reader.content), 5):
        damaged = bytearray(reader.content)
        damaged[place] ^= 0x81 if place % 2 else 1
        read(reader, bytes(damaged), folder / "bytes" / name)
