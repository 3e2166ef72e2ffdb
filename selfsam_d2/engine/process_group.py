"""The group of processes that work together: what it is to lose one of them, and to leave it."""

from __future__ import annotations

import gc

import torch.distributed as dist
from detectron2.utils import comm

__all__ = ["is_lost_process", "leave_group"]

GLOO = "gloo/transport/tcp/"
CLOSED = ("Connection closed by peer", "Connection reset by peer", "Broken pipe")


def is_lost_process(error: BaseException | None) -> bool:
    """Whether an error says that another process has closed its connections.

    Args:
        error: raised by a call that waits for all processes.
    """
    if isinstance(error, dist.DistNetworkError):  # the store where they meet
        return True
    text = str(error)
    # Gloo has no class of its own for it.
    return isinstance(error, RuntimeError) and GLOO in text and any(each in text for each in CLOSED)


def leave_group() -> None:
    """End Gloo's threads, for one that runs when the interpreter ends can abort the process.

    They end with the last reference to their group, so this is the last thing a process does:
    Detectron2's communication does not work after it. It waits for what this process has begun
    with others, not for the others; a process that has lost one of them must not call it.
    """
    if not dist.is_initialized() or dist.get_backend() != "gloo":
        return
    dist.destroy_process_group()
    comm._LOCAL_PROCESS_GROUP = None
    comm._get_global_gloo_group.cache_clear()
    # DistributedDataParallel holds it too, and is part of the cycle of a trainer and its hooks.
    gc.collect()
