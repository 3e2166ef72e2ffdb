"""What a process raises when another one that it works with has ended."""

from __future__ import annotations

import torch.distributed as dist

__all__ = ["is_lost_process"]

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
