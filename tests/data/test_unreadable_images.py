"""Images that become unreadable during a training."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from selfsam_d2.data.schedule import CropSchedule
from selfsam_d2.data.unreadable_images import CountingLoader, SkippingMapper, UnreadableImages
from selfsam_d2.errors import InputError, UnreadableImageError

NAMES = ["a.png", "b.png", "c.png"]


def make(bad: set[str]) -> tuple[SkippingMapper, CropSchedule]:
    """A mapper that cannot read some images, and its schedule of three, two crops each."""
    records = [{"file_name": name, "height": 20, "width": 10} for name in NAMES]
    schedule = CropSchedule(records, crop=10, seed=3)

    def mapper(record: dict[str, Any]) -> dict[str, Any]:
        if record["file_name"] in bad:
            raise UnreadableImageError(record["file_name"], "damaged")
        return {key: record[key] for key in ("file_name", "position", "epoch")}

    return SkippingMapper(mapper, schedule), schedule


def load(bad: set[str], most: int, positions: range = range(18)) -> list[dict[str, Any]]:
    """What a loader of single samples gives out."""
    mapper, schedule = make(bad)
    batches = CountingLoader(
        [[mapper(schedule[each])] for each in positions], UnreadableImages(most)
    )
    return [sample for batch in batches for sample in batch]


def test_all_is_as_scheduled_where_all_can_be_read() -> None:
    _, schedule = make(set())
    expected = [schedule[position] for position in range(18)]
    found = load(set(), 0)
    assert found == [{key: each[key] for key in found[0]} for each in expected]


def test_another_image_takes_the_place_and_the_rest_is_as_scheduled(
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole = load(set(), 0)
    with caplog.at_level(logging.WARNING):
        found = load({"b.png"}, 1)
    assert [each["position"] for each in found] == list(range(18))
    assert [each["epoch"] for each in found] == [each["epoch"] for each in whole]
    for sample, planned in zip(found, whole, strict=True):
        assert sample["file_name"] != "b.png"
        assert sample["file_name"] == planned["file_name"] or planned["file_name"] == "b.png"
        assert set(sample) == set(planned)
    assert caplog.messages == ["b.png: damaged; left out (1 of 1)"]


@pytest.mark.parametrize(("bad", "most"), [({"b.png"}, 0), ({"a.png", "c.png"}, 1)])
def test_one_too_many_stops_and_is_named(bad: set[str], most: int) -> None:
    expected = rf"^[abc]\.png: damaged; DATALOADER\.MAX_BAD allows {most} in a run; .*--resume"
    with pytest.raises(UnreadableImageError, match=expected):
        load(bad, most)


def test_none_that_can_be_read_stops_at_once() -> None:
    mapper, schedule = make(set(NAMES))
    read, tried = mapper.mapper, []

    def counted(record: dict[str, Any]) -> dict[str, Any]:
        tried.append(record["file_name"])
        return read(record)

    mapper.mapper = counted
    with pytest.raises(UnreadableImageError, match=r"a\.png: damaged"):
        mapper(schedule[0])
    assert sorted(tried) == NAMES  # each once


def test_other_errors_are_no_images() -> None:
    def mapper(_: dict[str, Any]) -> dict[str, Any]:
        raise InputError("labels", "damaged")

    _, schedule = make(set())
    with pytest.raises(InputError, match="labels: damaged"):
        SkippingMapper(mapper, schedule)(schedule[0])


def company(monkeypatch: pytest.MonkeyPatch, other: tuple[dict[str, str], object]) -> None:
    """A second process, whose batches all come with the same news."""
    monkeypatch.setattr(
        "selfsam_d2.data.unreadable_images.comm.all_gather", lambda own: [own, other]
    )


def test_images_of_all_processes_count(monkeypatch: pytest.MonkeyPatch) -> None:
    company(monkeypatch, ({"d.png": "d.png: damaged"}, None))
    assert len(load({"b.png"}, 2)) == 18
    with pytest.raises(UnreadableImageError, match=r"DATALOADER.MAX_BAD allows 1 in a run"):
        load({"b.png"}, 1)
    with pytest.raises(UnreadableImageError, match=r"^d\.png: damaged; DATALOADER"):
        load(set(), 0)


def test_where_one_process_has_no_batch_none_has(monkeypatch: pytest.MonkeyPatch) -> None:
    company(monkeypatch, ({}, UnreadableImageError("d.png", "damaged")))
    with pytest.raises(UnreadableImageError, match=r"^d\.png: damaged$"):
        load(set(), 0)
    company(monkeypatch, ({}, "ValueError('x')"))
    with pytest.raises(RuntimeError, match=r"^process 1 has no batch: ValueError\('x'\)$"):
        load(set(), 0)


def test_the_others_hear_of_an_error_before_it_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []

    def all_gather(own: tuple[dict[str, str], object]) -> list[tuple[dict[str, str], object]]:
        told.append(own)
        return [own, ({}, None)]

    def batches() -> Iterator[list[dict[str, Any]]]:
        yield [{}]
        raise ValueError("x")

    monkeypatch.setattr("selfsam_d2.data.unreadable_images.comm.all_gather", all_gather)
    loader = CountingLoader(batches(), UnreadableImages(0))
    assert not loader.ended
    with pytest.raises(ValueError, match=r"^x$"):
        list(loader)
    assert told == [({}, None), ({}, "ValueError('x')")]
    assert loader.ended
