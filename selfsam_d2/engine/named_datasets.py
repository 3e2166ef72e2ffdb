"""The datasets of ``--register``: checked against the config, and kept beside the training."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog

from selfsam_d2.errors import InputError
from selfsam_d2.files import parse_json, writing
from selfsam_d2.structures.image_files import MAX_TEXT, require_file

__all__ = ["DATASETS_FILE", "check_named", "keep_datasets", "kept_datasets"]

DATASETS_FILE = "datasets.json"
REMEDY = "remove it and name the datasets by --register NAME JSON IMAGE_ROOT"

Registered = tuple[str, str, str]


def check_named(register: Sequence[Sequence[str]], cfg: CfgNode) -> None:
    """See that the config trains on what ``--register`` names, where it names anything.

    Args:
        register: (name, JSON, folder of images) of each, registered.
        cfg: its DATASETS.TRAIN is looked at.

    Raises:
        InputError: it trains on a dataset that is not known.
    """
    used = {*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST}
    unused = [each for each in register if each[0] not in used]
    unknown = [name for name in cfg.DATASETS.TRAIN if name not in DatasetCatalog]
    if unused and unknown:
        name, *files = unused[0]
        meant = shlex.join((unknown[0], *files))
        raise InputError(
            f"--register {name}",
            f"the config trains on {unknown[0]!r}; say --register {meant}, or put DATASETS.TRAIN "
            f"{name} at the end",
        )


def keep_datasets(folder: str | Path, register: Sequence[Sequence[str]]) -> None:
    """Write to ``folder/datasets.json`` what ``--register`` names, for the report of the training.

    Raises:
        OutputError: it cannot be written.
    """
    kept = {name: [str(Path(each).absolute()) for each in files] for name, *files in register}
    with writing(Path(folder) / DATASETS_FILE) as draft:
        draft.write_text(json.dumps(kept, indent=1), encoding="utf-8")


def kept_datasets(folder: str | Path) -> list[Registered]:
    """What :func:`keep_datasets` has written, and is still there.

    Returns:
        (name, JSON, folder of images) of each; none where there is no such file.

    Raises:
        InputError: the file is damaged or too large to be one.
    """
    path = Path(folder) / DATASETS_FILE
    if not path.is_file():
        return []
    require_file(path, MAX_TEXT, REMEDY)
    try:
        kept = parse_json(path.read_text(encoding="utf-8"))
        found = [(str(name), str(file), str(root)) for name, (file, root) in kept.items()]
    except (AttributeError, OSError, TypeError, ValueError) as error:
        raise InputError(path, f"damaged; {REMEDY}") from error
    return [each for each in found if os.path.isfile(each[1])]
