"""Several processes at one work: an error of one of them is an error of all."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from detectron2.utils import comm

from selfsam_d2.errors import InputError

__all__ = ["PATIENCE", "gather", "together"]

Result = TypeVar("Result")
PATIENCE = timedelta(days=30)  # one process writes a slide while the others wait


def gather(value: Any) -> list[Any]:
    """A value of each process, in all of them; a list of one where there is one process."""
    return list(comm.all_gather(value, group=_group()))


@lru_cache(maxsize=1)
def _group() -> Any:
    if comm.get_world_size() == 1:
        return None
    return dist.new_group(backend="gloo", timeout=PATIENCE)


def together(subject: str | Path, action: Callable[[], Result]) -> Result:
    """Do something in each process, and wait for the others.

    Args:
        subject: what it is done to, for the message when memory runs out.
        action: called without arguments.

    Raises:
        InputError: in all processes, if it was raised, or memory ran out, in one.
        OutputError: the same.
    """
    result: list[Result] = []
    problem: InputError | None = None
    try:
        result.append(action())
    except InputError as error:
        problem = error
    except (MemoryError, torch.OutOfMemoryError):
        problem = InputError(subject, "not enough memory; give a smaller --tile")
    for each in gather(problem):
        if each is not None:
            raise type(each)(str(each))
    return result[0]
