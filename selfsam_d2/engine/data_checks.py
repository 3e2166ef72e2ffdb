"""What can be wrong with datasets, images and weights, said before anything is trained."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, get_detection_dataset_dicts

from selfsam_d2.data.images import check_images
from selfsam_d2.data.unreadable_images import tolerating
from selfsam_d2.engine.architectures import learns_from_points
from selfsam_d2.errors import InputError, shortened
from selfsam_d2.evaluation.nuclei_evaluator import check_masks
from selfsam_d2.weights.resolve import resolve_weights

__all__ = [
    "check_evaluation",
    "check_no_training",
    "check_training",
    "check_weights",
    "load_records",
    "unreadable_at_start",
]

LAST = "last_checkpoint"


def load_records(names: Sequence[str]) -> list[dict[str, Any]]:
    """Dataset dicts of registered datasets, images without nuclei among them.

    Raises:
        InputError: no name is given, a name is unknown, or a dataset cannot be read.
    """
    if not names:
        raise InputError("DATASETS", "no dataset is named; set DATASETS.TRAIN or DATASETS.TEST")
    for name in names:
        if name not in DatasetCatalog:
            raise InputError(
                f"dataset {shortened(repr(name))}",
                f"unknown; register it with --register {shortened(name)} JSON IMAGE_ROOT",
            )
    return get_detection_dataset_dicts(list(names), filter_empty=False)


def check_training(cfg: Any, *, resume: bool = False) -> list[dict[str, Any]]:
    """Read every training image once, and give the dataset dicts.

    Args:
        cfg: names the datasets.
        resume: see :func:`unreadable_at_start`.

    Raises:
        InputError: a dataset or an image cannot be used, an image is listed twice, or a model that
            learns from masks lacks one.
    """
    unreadable = unreadable_at_start(cfg, resume=resume)
    with tolerating(unreadable):
        records = load_records(cfg.DATASETS.TRAIN)
    if not learns_from_points(cfg):
        _check_training_masks(cfg, records)
    seen = set()
    for record in records:
        # Points belong to a file: two annotations of it would be mixed up.
        if record["file_name"] in seen:
            raise InputError(
                record["file_name"], "is in two of DATASETS.TRAIN; keep it in one of them"
            )
        seen.add(record["file_name"])
    check_images((record["file_name"] for record in records), unreadable=unreadable)
    return records


def unreadable_at_start(cfg: Any, *, resume: bool) -> int:
    """How many training images need not be readable when a training starts.

    Args:
        cfg: of the training.
        resume: whether it goes on, if there is a checkpoint in OUTPUT_DIR.

    Returns:
        DATALOADER.MAX_BAD of a training that goes on, which must not end by what did not end it
        before; 0 of a new one.
    """
    return int(cfg.DATALOADER.MAX_BAD) if _goes_on(cfg, resume) else 0


def _goes_on(cfg: Any, resume: bool) -> bool:
    return resume and (Path(cfg.OUTPUT_DIR) / LAST).is_file()


def _check_training_masks(cfg: Any, records: list[dict[str, Any]]) -> None:
    for record in records:
        if not all(each.get("segmentation") for each in record["annotations"]):
            raise InputError(
                record["file_name"],
                f"has an annotation without a mask, but {cfg.MODEL.META_ARCHITECTURE} learns from "
                "masks; tools/export_pseudo_labels.py makes them from the points",
            )


def check_evaluation(cfg: Any, *, needed: bool = False) -> None:
    """Read every test image once and see that it has masks to be scored against.

    Args:
        cfg: names the datasets.
        needed: whether there must be one.

    Raises:
        InputError: a dataset or an image cannot be used, or a mask is missing.
    """
    if needed and not cfg.DATASETS.TEST:
        raise InputError("DATASETS.TEST ()", "nothing to evaluate; name a dataset with masks")
    for name in cfg.DATASETS.TEST:
        records = load_records([name])
        check_masks(name, records)
        check_images(record["file_name"] for record in records)


def check_no_training(folder: str, *, resume: bool = False) -> None:
    """Whether a training may begin in a folder, or go on; one that is there must not be lost.

    Args:
        folder: OUTPUT_DIR.
        resume: whether it goes on, if ``last_checkpoint`` says where.

    Raises:
        InputError: a training has left a checkpoint there, and the new one would begin anew.
    """
    found = list(Path(folder).glob("model_*.pth"))
    known = (Path(folder) / LAST).is_file()
    if not found or (resume and known):
        return
    newest = max(found, key=_age_rank).name
    if known:
        problem = f"holds a training ({newest}); --resume goes on with it"
    else:
        # Not by itself: it may be of the training before the one that was killed.
        command = f"echo {newest} > {shlex.quote(str(Path(folder) / LAST))}"
        problem = (
            f"holds a training ({newest}) but no {LAST}, which says where to go on; after "
            f"`{command}` --resume goes on from there"
        )
    raise InputError(folder, f"{problem}, another OUTPUT_DIR begins anew")


def _age_rank(checkpoint: Path) -> tuple[bool, int, str]:
    try:
        time = checkpoint.stat().st_mtime_ns
    except OSError:  # a training that is going on has replaced it by a newer one
        time = 0
    # The best model is a state on the way, even where it was written last.
    return checkpoint.stem != "model_best", time, checkpoint.name


def check_weights(cfg: Any, *, resume: bool = False) -> None:
    """Have the files of weights at hand, fetched if need be, before a large model is built.

    Args:
        cfg: names the weights.
        resume: a checkpoint in OUTPUT_DIR, if there is one, is loaded instead of them.

    Raises:
        InputError: there is no such file, or it cannot be fetched.
    """
    if cfg.MODEL.WEIGHTS and not _goes_on(cfg, resume):
        resolve_weights(cfg.MODEL.WEIGHTS)
