"""What can be wrong with a config and its datasets, said before anything is loaded or trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from detectron2.data import DatasetCatalog, get_detection_dataset_dicts

from selfsam_d2.data.images import check_images
from selfsam_d2.errors import InputError
from selfsam_d2.evaluation.nuclei_evaluator import check_masks
from selfsam_d2.modeling.backbone import SIZE_DIVISIBILITY
from selfsam_d2.modeling.prompter import NEGATIVE_CHOICES
from selfsam_d2.modeling.sliding_window import BLENDS
from selfsam_d2.pseudo_labels.alpha import ALPHA_SCHEDULES
from selfsam_d2.pseudo_labels.prompt_label import ENTROPY_REDUCTIONS
from selfsam_d2.structures.centre import CENTRE_RULES
from selfsam_d2.structures.points import SHIFT_LAWS

__all__ = ["check_config", "check_evaluation", "check_training", "load_records"]

REFRESH_MODES = ("step", "epoch")
MASK_TOKENS = range(4)
CHOICES: dict[str, Sequence[str]] = {
    "SELF_REFINE.REFRESH": REFRESH_MODES,
    "SELF_REFINE.ALPHA_SCHEDULE": ALPHA_SCHEDULES,
    "PROMPT.NEGATIVE_CHOICE": NEGATIVE_CHOICES,
    "PSEUDO_LABEL.ENTROPY_REDUCTION": ENTROPY_REDUCTIONS,
    "INPUT.NUCLEI.SHIFT_LAW": SHIFT_LAWS,
    "INPUT.NUCLEI.CENTRE": CENTRE_RULES,
    "INFERENCE.BLEND": BLENDS,
}
# Key -> smallest and largest value.
RANGES: dict[str, tuple[float, float]] = {
    "SELF_REFINE.ALPHA_CONSTANT": (0, 1),
    "SELF_REFINE.ALPHA_GAMMA": (0, 1),
    "PROMPT.NUM_NEGATIVES": (0, 4),
    "PROMPT.MASK_TOKEN": (MASK_TOKENS[0], MASK_TOKENS[-1]),
    "INPUT.NUCLEI.CROP": (16, float("inf")),
    "INPUT.NUCLEI.SHIFT": (0, float("inf")),
    "INPUT.NUCLEI.FLIP": (0, 1),
    "INPUT.NUCLEI.COLOR": (0, 0.99),
    "INFERENCE.WINDOW": (16, float("inf")),
    "INFERENCE.BATCH_SIZE": (1, float("inf")),
    "MODEL.ADAPTER.HIGH_PASS_SHARE": (0, 1),
    "SOLVER.IMS_PER_BATCH": (1, float("inf")),
    "SOLVER.CHECKPOINTS_KEPT": (0, float("inf")),
}


def check_config(cfg: Any) -> None:
    """Check the values of this package's keys.

    Raises:
        InputError: a value is not one of the choices or out of its range.
    """
    for key, choices in CHOICES.items():
        value = _value(cfg, key)
        if value not in choices:
            raise InputError(f"{key} {value!r}", f"unknown; expected one of {', '.join(choices)}")
    for key, (low, high) in RANGES.items():
        value = _value(cfg, key)
        if not low <= value <= high:
            raise InputError(f"{key} {value}", f"expected a number from {low} to {high}")
    side = cfg.MODEL.SAM.INPUT_SIDE
    if side < SIZE_DIVISIBILITY or side % SIZE_DIVISIBILITY:
        raise InputError(
            f"MODEL.SAM.INPUT_SIDE {side}", f"expected a multiple of {SIZE_DIVISIBILITY}"
        )
    if not 0 <= cfg.INFERENCE.OVERLAP < cfg.INFERENCE.WINDOW:
        raise InputError(
            f"INFERENCE.OVERLAP {cfg.INFERENCE.OVERLAP}",
            f"expected 0 to INFERENCE.WINDOW - 1 = {cfg.INFERENCE.WINDOW - 1}",
        )
    if cfg.SELF_REFINE.BASE_CACHE and cfg.SELF_REFINE.REFRESH != "step":
        raise InputError(
            f"SELF_REFINE.REFRESH {cfg.SELF_REFINE.REFRESH!r}",
            "makes no base mask in a step; set it to 'step' or SELF_REFINE.BASE_CACHE to False",
        )
    if cfg.SOLVER.MAX_ITER <= 0 and cfg.SOLVER.EPOCHS < 1:
        raise InputError(f"SOLVER.EPOCHS {cfg.SOLVER.EPOCHS}", "expected at least 1")


def _value(cfg: Any, key: str) -> Any:
    for part in key.split("."):
        cfg = cfg[part]
    return cfg


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
                f"dataset {name!r}",
                f"unknown; register it with --register {name} JSON IMAGE_ROOT",
            )
    return get_detection_dataset_dicts(list(names), filter_empty=False)


def check_training(cfg: Any) -> list[dict[str, Any]]:
    """Read every training image once, and give the dataset dicts.

    Raises:
        InputError: a dataset or an image cannot be used, or an image is listed twice.
    """
    records = load_records(cfg.DATASETS.TRAIN)
    seen = set()
    for record in records:
        # Points belong to a file: two annotations of it would be mixed up.
        if record["file_name"] in seen:
            raise InputError(
                record["file_name"], "is in two of DATASETS.TRAIN; keep it in one of them"
            )
        seen.add(record["file_name"])
    check_images(record["file_name"] for record in records)
    return records


def check_evaluation(cfg: Any) -> None:
    """Read every test image once and see that it has masks to be scored against.

    Raises:
        InputError: a dataset or an image cannot be used, or a mask is missing.
    """
    for name in cfg.DATASETS.TEST:
        records = load_records([name])
        check_masks(name, records)
        check_images(record["file_name"] for record in records)
