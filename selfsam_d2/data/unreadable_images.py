"""Images that become unreadable during a training are named and left out, up to a number."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
from detectron2.utils import comm
from numpy.typing import NDArray

from selfsam_d2.data.images import read_image
from selfsam_d2.errors import SelfSAMError, UnreadableImageError

__all__ = ["CountingLoader", "SkippingMapper", "UnreadableImages", "tolerated", "tolerating"]

SKIPPED = "unreadable"  # key of a sample: what stood in the way of it
NEIGHBOURS = 1000  # crops that are tried in place of one

logger = logging.getLogger(__name__)

_tolerated: ContextVar[int] = ContextVar("unreadable images that a dataset may have", default=0)


def tolerated() -> int:
    """How many images of a dataset that is loaded now may be unreadable."""
    return _tolerated.get()


@contextmanager
def tolerating(most: int) -> Iterator[None]:
    """Let datasets be loaded of which some images cannot be read; Detectron2 takes names only.

    Args:
        most: images, of each dataset.
    """
    before = _tolerated.set(most)
    try:
        yield
    finally:
        _tolerated.reset(before)


class UnreadableImages:
    """Counts the images of a training that could not be read, of all its processes.

    It begins anew when a training is resumed: what is still bad is met again.

    Args:
        most: images that may be unreadable, DATALOADER.MAX_BAD.

    Attributes:
        names: so far.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.names: set[str] = set()

    def leave_out(self, problems: Mapping[str, str]) -> None:
        """Name each image once.

        Args:
            problems: file name -> what is wrong with it.

        Raises:
            UnreadableImageError: an image is one too many.
        """
        for name, problem in problems.items():
            if name in self.names:
                continue
            self.names.add(name)
            if len(self.names) > self.most:
                allowed = f"DATALOADER.MAX_BAD allows {self.most} in a run"
                raise UnreadableImageError(
                    f"{problem}; {allowed}; go on with --resume when it is well"
                )
            logger.warning("%s; left out (%d of %d)", problem, len(self.names), self.most)

    def read(
        self, records: Iterable[dict[str, Any]], problems: dict[str, str]
    ) -> Iterator[tuple[dict[str, Any], NDArray[np.uint8]]]:
        """Dataset dicts with their (H, W, 3) images; what cannot be read is left out.

        Args:
            records: dataset dicts.
            problems: file name -> what is wrong with it; filled. See :meth:`gather`.

        Raises:
            UnreadableImageError: an image is one too many.
        """
        for record in records:
            name = record["file_name"]
            try:
                image = read_image(name)
            except UnreadableImageError as error:
                problems[name] = str(error)
                self.leave_out({name: problems[name]})
            else:
                yield record, image

    def gather(self, problems: Mapping[str, str]) -> dict[str, str]:
        """What was left out in all processes, which are here together.

        Raises:
            UnreadableImageError: an image is one too many.
        """
        found = {name: said for each in comm.all_gather(problems) for name, said in each.items()}
        self.leave_out(found)
        return found


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
        unreadable: counts the images.

    Attributes:
        ended: a batch could not be had, which all processes know.
    """

    def __init__(
        self, loader: Iterable[Sequence[dict[str, Any]]], unreadable: UnreadableImages
    ) -> None:
        self.loader = loader
        self.unreadable = unreadable
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
            self.unreadable.leave_out(each)
        return batch
