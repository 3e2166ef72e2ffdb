"""Views of training crops on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from selfsam_d2.errors import InputError
from selfsam_d2.files import ARRAY_ERRORS, writing
from selfsam_d2.visualization.crop_view import CropView

__all__ = ["load_views", "save_views"]

FIELDS = [field.name for field in fields(CropView)]
SCALARS: dict[str, Callable[[Any], Any]] = {"name": str, "alpha": float}


def save_views(views: Sequence[CropView], path: str | Path) -> None:
    """Write views to one file, whole or not at all.

    Args:
        views: at least one.
        path: an ``.npz`` file; its folder is made.

    Raises:
        OutputError: it cannot be written.
    """
    arrays = {
        f"{number}.{name}": value
        for number, view in enumerate(views)
        for name, value in asdict(view).items()
    }
    with writing(path) as draft, draft.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def load_views(path: str | Path) -> list[CropView]:
    """Read what :func:`save_views` wrote.

    Raises:
        InputError: it cannot be read or is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            numbers = sorted({int(key.split(".")[0]) for key in stored.files})
            return [
                CropView(
                    **{
                        name: SCALARS.get(name, np.asarray)(stored[f"{number}.{name}"])
                        for name in FIELDS
                    }
                )
                for number in numbers
            ]
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror or error})") from error
    except ARRAY_ERRORS as error:
        raise InputError(path, "damaged; remove it") from error
