"""Write what ``torch.load`` reads, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from selfsam_d2.files import writing

__all__ = ["save_tensors"]


def save_tensors(content: dict[str, Any], path: str | Path, *, remedy: str = "") -> None:
    """``torch.save`` to a file that replaces the one before only when it is complete.

    Args:
        content: tensors and plain containers.
        path: the file.
        remedy: see :func:`selfsam_d2.files.writing`.

    Raises:
        OutputError: it cannot be written, as on a full disk; what was there before is as it was.
    """
    with writing(path, remedy=remedy) as draft, draft.open("wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:
            # PyTorch's writer reports a failed write as a position that it did not expect.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise
