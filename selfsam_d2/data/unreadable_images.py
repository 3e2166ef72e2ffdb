"""Images that become unreadable during a training are named and left out, up to a number."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from detectron2.utils import comm

from selfsam_d2.errors import SelfSAMError, UnreadableImageError

__all__ = ["CountingLoader", "SkippingMapper"]

SKIPPED = "unreadable"  # key of a sample: what stood in the way of it
NEIGHBOURS = 1000  # crops that are tried in place of one

logger = logging.getLogger(__name__)


class SkippingMapper:
    """Takes the next crop of another image where that of the schedule cannot be read.

    The crop is drawn with the position of the one that it stands for, so that all others are what
    they would have been. It says what it left out, see :class:`CountingLoader`.

    Args:
        mapper: dataset dict with ``position`` -> sample.
        schedule: position -> dataset dict.
    """

    def __init__(self, mapper: Callable[[dict[str, Any]], dict[str, Any]], schedule: Any) -> None:
        self.mapper = mapper
        self.schedule = schedule

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        """One sample.

        Raises:
            UnreadableImageError: no image nearby in the schedule can be read.
        """
        problems: dict[str, str] = {}
        position = record["position"]
        for neighbour in range(NEIGHBOURS):
            other = self.schedule[position + neighbour]
            if other["file_name"] in problems:
                continue
            try:
                sample = self.mapper({**other, "position": position, "epoch": record["epoch"]})
            except UnreadableImageError as error:
                problems[other["file_name"]] = str(error)
            else:
                return {**sample, SKIPPED: problems} if problems else sample
        raise UnreadableImageError("; ".join(problems.values()))


class CountingLoader:
    """Batches of a loader; stops when more images than allowed could not be read.

    Processes that train together count together, and where one has no batch none has: otherwise
    the others would wait for its gradients.

    Args:
        loader: batches of samples of a :class:`SkippingMapper`.
        most: images that may be unreadable, DATALOADER.MAX_BAD.

    Attributes:
        unreadable: images so far.
        ended: a batch could not be had, which all processes know.
    """

    def __init__(self, loader: Iterable[Sequence[dict[str, Any]]], most: int) -> None:
        self.loader = loader
        self.most = most
        self.unreadable: set[str] = set()
        self.ended = False

    def __iter__(self) -> Iterator[Sequence[dict[str, Any]]]:
        batches = iter(self.loader)
        while (batch := self._fetch(batches)) is not None:
            yield batch

    def _fetch(
        self, batches: Iterator[Sequence[dict[str, Any]]]
    ) -> Sequence[dict[str, Any]] | None:
        """The next batch.

        Raises:
            UnreadableImageError: an image is one too many, here or in another process.
            RuntimeError: another process has no batch.
        """
        batch = None
        problems: dict[str, str] = {}
        failure: Exception | None = None
        try:
            batch = next(batches, None)
        except Exception as error:  # raised below, when the others know
            failure = error
        for sample in batch or ():
            problems.update(sample.pop(SKIPPED, {}))
        told = failure if isinstance(failure, SelfSAMError | None) else repr(failure)
        gathered = comm.all_gather((problems, told))
        self.ended = any(other is not None for _, other in gathered)
        if failure is not None:
            raise failure
        for rank, (_, other) in enumerate(gathered):
            if isinstance(other, SelfSAMError):
                raise other
            if other is not None:
                raise RuntimeError(f"process {rank} has no batch: {other}")
        for each, _ in gathered:
            for name, problem in each.items():
                self._count(name, problem)
        return batch

    def _count(self, name: str, problem: str) -> None:
        """Name an image once.

        Raises:
            UnreadableImageError: it is one too many.
        """
        if name in self.unreadable:
            return
        self.unreadable.add(name)
        if len(self.unreadable) > self.most:
            allowed = f"DATALOADER.MAX_BAD allows {self.most} in a run"
            raise UnreadableImageError(f"{problem}; {allowed}; go on with --resume when it is well")
        logger.warning("%s; left out (%d of %d)", problem, len(self.unreadable), self.most)
