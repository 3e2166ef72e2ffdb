"""What can be wrong with the values of a config, said before anything is loaded or trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.modeling import BACKBONE_REGISTRY, META_ARCH_REGISTRY
from detectron2.utils.registry import Registry

from selfsam_d2.engine.architectures import learns_from_points, predicts_by_windows
from selfsam_d2.engine.epochs import without_effect
from selfsam_d2.engine.expected_results import check_expectations
from selfsam_d2.engine.loss_scale_hook import PRECISIONS
from selfsam_d2.engine.solver import OPTIMIZERS
from selfsam_d2.errors import InputError, shortened
from selfsam_d2.modeling.backbone import ENCODERS, SIZE_DIVISIBILITY, SAMAdapterBackbone
from selfsam_d2.modeling.feature_pyramid import (
    build_sam_adapter_fpn_backbone,
    build_vitdet_backbone,
)
from selfsam_d2.modeling.inference import scale_step
from selfsam_d2.modeling.nuclei_head import NUCLEI_HEAD_REGISTRY
from selfsam_d2.modeling.postprocess import PostProcessSettings
from selfsam_d2.modeling.prompter import NEGATIVE_CHOICES
from selfsam_d2.modeling.sliding_window import BLENDS
from selfsam_d2.modeling.symmetries import SYMMETRIES
from selfsam_d2.modeling.vit import VIT_SIZES
from selfsam_d2.pseudo_labels.alpha import ALPHA_SCHEDULES
from selfsam_d2.pseudo_labels.prompt_label import ENTROPY_REDUCTIONS
from selfsam_d2.pseudo_labels.registry import PSEUDO_LABEL_REGISTRY
from selfsam_d2.structures.centre import CENTRE_RULES
from selfsam_d2.structures.points import SHIFT_LAWS

__all__ = ["check_config", "require_selfsam"]

REFRESH_MODES = ("step", "epoch")
MASK_TOKENS = range(4)
CHOICES: dict[str, Sequence[str | int]] = {
    "SELF_REFINE.REFRESH": REFRESH_MODES,
    "SELF_REFINE.ALPHA_SCHEDULE": ALPHA_SCHEDULES,
    "PROMPT.NEGATIVE_CHOICE": NEGATIVE_CHOICES,
    "PSEUDO_LABEL.ENTROPY_REDUCTION": ENTROPY_REDUCTIONS,
    "INPUT.NUCLEI.SHIFT_LAW": SHIFT_LAWS,
    "INPUT.NUCLEI.CENTRE": CENTRE_RULES,
    "INFERENCE.BLEND": BLENDS,
    "INFERENCE.SYMMETRIES": SYMMETRIES,
    "SOLVER.OPTIMIZER": OPTIMIZERS,
    "SOLVER.AMP.PRECISION": PRECISIONS,
    "MODEL.SAM.ENCODER": tuple(ENCODERS),
    "MODEL.NUCLEI_HEAD.NORM": ("GN", "LN", "BN", ""),
}
# Asked at each check: a user's code may register its own after this module is imported.
REGISTRIES: dict[str, Registry] = {
    "MODEL.META_ARCHITECTURE": META_ARCH_REGISTRY,
    "MODEL.BACKBONE.NAME": BACKBONE_REGISTRY,
    "MODEL.NUCLEI_HEAD.NAME": NUCLEI_HEAD_REGISTRY,
    "PSEUDO_LABEL.NAME": PSEUDO_LABEL_REGISTRY,
}
SMALLEST = 1e-12  # of what must be above zero
LARGEST_SHEAR = 0.5  # beyond it the map of a crop may fold an image flat
# Key -> smallest and largest value.
RANGES: dict[str, tuple[float, float]] = {
    "SELF_REFINE.ALPHA_CONSTANT": (0, 1),
    "SELF_REFINE.ALPHA_GAMMA": (0, 1),
    "PSEUDO_LABEL.ENTROPY_THRESHOLD": (0, float("inf")),
    "PSEUDO_LABEL.MASK_THRESHOLD": (0, 1),
    "PSEUDO_LABEL.AGREE_FOREGROUND": (0, 1),
    "PSEUDO_LABEL.AGREE_BACKGROUND": (0, 1),
    "PSEUDO_LABEL.AGREE_BACKGROUND_MASK": (0, 1),
    "PSEUDO_LABEL.CONSENSUS_START": (0, float("inf")),
    "PSEUDO_LABEL.REPROMPT_START": (0, float("inf")),
    "PSEUDO_LABEL.STAIN_WEIGHT": (0, 1),
    "PSEUDO_LABEL.MAX_RADIUS": (0, float("inf")),
    "PROMPT.NUM_NEGATIVES": (0, 4),
    "PROMPT.SPACING_SCALE": (SMALLEST, float("inf")),
    "PROMPT.DEFAULT_RADIUS": (SMALLEST, float("inf")),
    "PROMPT.DECODER_MEMORY": (0, float("inf")),
    "PROMPT.MASK_TOKEN": (MASK_TOKENS[0], MASK_TOKENS[-1]),
    "SELF_REFINE.HISTORY_CROPS": (0, float("inf")),
    "INPUT.NUCLEI.CROP": (16, float("inf")),
    "INPUT.NUCLEI.MIN_CROPS_PER_EPOCH": (0, float("inf")),
    "INPUT.NUCLEI.MICRONS_PER_PIXEL": (0, 10),
    "INPUT.NUCLEI.SHIFT": (0, float("inf")),
    "INPUT.NUCLEI.SHEAR": (0, LARGEST_SHEAR),
    "INPUT.NUCLEI.ROTATION": (0, 360),
    "INPUT.NUCLEI.FLIP": (0, 1),
    "INPUT.NUCLEI.COLOR": (0, 0.99),
    "INFERENCE.WINDOW": (16, float("inf")),
    "INFERENCE.WORKERS": (0, float("inf")),
    "INFERENCE.TILE": (0, float("inf")),
    "INFERENCE.BATCH_SIZE": (1, float("inf")),
    "MODEL.ADAPTER.HIGH_PASS_SHARE": (0, 1),
    "MODEL.ADAPTER.REDUCTION": (1, float("inf")),
    "MODEL.NUCLEI_HEAD.CONV_DIM": (1, float("inf")),
    "MODEL.VITDET.EMBED_DIM": (1, float("inf")),
    "MODEL.VITDET.NUM_HEADS": (1, float("inf")),
    "MODEL.VITDET.DEPTH": (1, float("inf")),
    "MODEL.VITDET.WINDOW": (1, float("inf")),
    "MODEL.VITDET.DROP_PATH": (0, 0.99),
    "MODEL.CONTRAST.DIM": (1, float("inf")),
    "MODEL.CONTRAST.TEMPERATURE": (SMALLEST, float("inf")),
    "MODEL.CONTRAST.NUM_NEGATIVES": (0, float("inf")),
    "MODEL.CONTRAST.FOREGROUND_THRESHOLD": (0, 1),
    "MODEL.LOSS.PROMPT_WEIGHT": (0, float("inf")),
    "MODEL.LOSS.FOREGROUND_WEIGHT": (0, float("inf")),
    "MODEL.LOSS.DISTANCE_WEIGHT": (0, float("inf")),
    "MODEL.LOSS.CONTRAST_WEIGHT": (0, float("inf")),
    "DATALOADER.NUM_WORKERS": (0, float("inf")),
    "DATALOADER.MAX_BAD": (0, float("inf")),
    "TEST.INSTANCE_MAP_SCORE": (0, 1),
    "TEST.EVAL_PERIOD": (0, float("inf")),
    "SOLVER.BASE_LR": (SMALLEST, float("inf")),
    "SOLVER.HEAD_LR_FACTOR": (SMALLEST, float("inf")),
    "SOLVER.WEIGHT_DECAY": (0, float("inf")),
    "SOLVER.MIN_LR": (0, float("inf")),
    "SOLVER.COSINE_T_MAX": (1, float("inf")),
    "SOLVER.CHECKPOINT_PERIOD": (1, float("inf")),
    "SOLVER.IMS_PER_BATCH": (1, float("inf")),
    "SOLVER.CHECKPOINTS_KEPT": (0, float("inf")),
}


def check_config(cfg: Any) -> None:
    """Check the values of this package's keys.

    Raises:
        InputError: a value is not one of the choices or out of its range.
    """
    registered = {key: [name for name, _ in each] for key, each in REGISTRIES.items()}
    for key, choices in {**CHOICES, **registered}.items():
        value = _value(cfg, key)
        if value not in choices:
            raise InputError(
                f"{key} {shortened(repr(value))}",
                f"unknown; expected one of {', '.join(map(str, choices))}",
            )
    for key, (low, high) in RANGES.items():
        value = _value(cfg, key)
        # A config may set any key to nothing.
        if value is None or not low <= value <= high:
            raise InputError(f"{key} {value}", f"expected a number from {low} to {high}")
    if cfg.INPUT.FORMAT != "RGB":
        raise InputError(
            f"INPUT.FORMAT {shortened(repr(cfg.INPUT.FORMAT))}",
            "images are read as RGB; set it to RGB, with MODEL.PIXEL_MEAN and PIXEL_STD in that "
            "order, or give --config-file with a config over one of configs/Base-*.yaml",
        )
    _check_sizes(cfg)
    check_expectations(cfg)
    try:
        torch.device(cfg.MODEL.DEVICE)
    except RuntimeError as error:
        raise InputError(
            f"MODEL.DEVICE {shortened(repr(cfg.MODEL.DEVICE))}", "unknown; give cpu or cuda"
        ) from error
    for key, value in cfg.POSTPROCESS.items():
        try:
            PostProcessSettings(**{key.lower(): value})
        except InputError as error:
            problem = str(error).split(": ", 1)[1]
            raise InputError(f"POSTPROCESS.{key} {value}", problem) from error
    if learns_from_points(cfg):
        _check_selfsam(cfg)
    elif cfg.SOLVER.MAX_ITER < 1:
        raise InputError(
            f"SOLVER.MAX_ITER {cfg.SOLVER.MAX_ITER}",
            f"expected at least 1: {cfg.MODEL.META_ARCHITECTURE} is trained for steps, not epochs",
        )


def require_selfsam(cfg: Any) -> None:
    """Check that a config is one of SelfSAM, which alone makes labels from points.

    Raises:
        InputError: it is one of another model.
    """
    if not learns_from_points(cfg):
        raise InputError(
            f"MODEL.META_ARCHITECTURE {cfg.MODEL.META_ARCHITECTURE!r}",
            "makes no labels from points; give --config-file with a config over Base-SelfSAM.yaml",
        )


def _check_selfsam(cfg: Any) -> None:
    name = cfg.MODEL.BACKBONE.NAME
    if not hasattr(BACKBONE_REGISTRY.get(name), "forward_both"):
        raise InputError(
            f"MODEL.BACKBONE.NAME {name!r}",
            "has no base and adapted encoder, which SelfSAM needs; use SAMAdapterBackbone",
        )
    if cfg.SELF_REFINE.BASE_CACHE and cfg.SELF_REFINE.REFRESH != "step":
        raise InputError(
            f"SELF_REFINE.REFRESH {cfg.SELF_REFINE.REFRESH!r}",
            "makes no base mask in a step; set it to 'step' or SELF_REFINE.BASE_CACHE to False",
        )
    labels = cfg.PSEUDO_LABEL
    if labels.STAIN_WEIGHT and not labels.VORONOI:
        raise InputError(
            f"PSEUDO_LABEL.STAIN_WEIGHT {labels.STAIN_WEIGHT}",
            "needs the cells of the points; set PSEUDO_LABEL.VORONOI to True",
        )
    solver = cfg.SOLVER
    if solver.MIN_LR > solver.BASE_LR:
        raise InputError(
            f"SOLVER.MIN_LR {solver.MIN_LR}", f"expected at most SOLVER.BASE_LR = {solver.BASE_LR}"
        )
    if solver.MAX_ITER > 0:
        return  # how many epochs these are depends on the images: the trainer warns
    if solver.EPOCHS < 1:
        raise InputError(f"SOLVER.EPOCHS {solver.EPOCHS}", "expected at least 1")
    for subject, problem in without_effect(cfg, solver.EPOCHS):
        raise InputError(subject, problem)


def _check_sizes(cfg: Any) -> None:
    side = cfg.MODEL.SAM.INPUT_SIDE
    if side < SIZE_DIVISIBILITY or side % SIZE_DIVISIBILITY:
        raise InputError(
            f"MODEL.SAM.INPUT_SIDE {side}", f"expected a multiple of {SIZE_DIVISIBILITY}"
        )
    if predicts_by_windows(cfg):
        _check_windows(cfg)
    scale = cfg.INPUT.NUCLEI.SCALE
    if len(scale) != 2 or not 0 < scale[0] <= scale[1]:
        raise InputError(
            f"INPUT.NUCLEI.SCALE {tuple(scale)}", "expected the smallest and the largest, above 0"
        )


def _check_windows(cfg: Any) -> None:
    """What the encoder sees at once in prediction, against what it saw in training."""
    inference, crop = cfg.INFERENCE, cfg.INPUT.NUCLEI.CROP
    smallest = min(inference.WINDOW, crop)
    if not 0 <= inference.OVERLAP < smallest:
        raise InputError(
            f"INFERENCE.OVERLAP {inference.OVERLAP}",
            f"expected 0 to {smallest - 1}, less than INFERENCE.WINDOW and INPUT.NUCLEI.CROP",
        )
    if inference.TILE and inference.TILE < inference.WINDOW:
        raise InputError(
            f"INFERENCE.TILE {inference.TILE}",
            f"expected 0 or at least INFERENCE.WINDOW = {inference.WINDOW}",
        )
    step = scale_step(crop, cfg.MODEL.SAM.INPUT_SIDE)
    for name in ("WINDOW", "TILE"):
        side = inference[name]
        if side % step:
            raise InputError(
                f"INFERENCE.{name} {side}",
                f"expected a multiple of {step} such as the crop, for the scale of the training "
                f"(INPUT.NUCLEI.CROP {crop} at MODEL.SAM.INPUT_SIDE {cfg.MODEL.SAM.INPUT_SIDE})",
            )
        if side not in (0, crop) and (encoder := _global_encoder(cfg)):
            raise InputError(
                f"INFERENCE.{name} {side}",
                f"{encoder} attends globally and must see what it was trained on: "
                f"INPUT.NUCLEI.CROP = {crop} (and INFERENCE.TILE 0)",
            )


def _global_encoder(cfg: Any) -> str | None:
    """The encoder if it attends globally."""
    backbone, encoder = cfg.MODEL.BACKBONE.NAME, cfg.MODEL.SAM.ENCODER
    if backbone == build_vitdet_backbone.__name__:
        return str(backbone)
    uses_sam = backbone in (SAMAdapterBackbone.__name__, build_sam_adapter_fpn_backbone.__name__)
    return encoder if uses_sam and encoder in VIT_SIZES else None


def _value(cfg: Any, key: str) -> Any:
    for part in key.split("."):
        cfg = cfg[part]
    return cfg
