"""The figures that the paper prints, to stand beside one's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["PaperFigure", "paper_figure", "paper_figure_of_run"]


class PaperFigure(NamedTuple):
    """Dice and AJI on the test images of the paper, in [0, 1]."""

    dice: float
    aji: float


# (dataset, encoder, method, shift) -> Dice, AJI in percent, as printed in Tables 1 to 4 of
# Nam & Park, Diagnostics 2026. Methods are named as by selfsam_d2.engine.method_names.method_of.
_PERCENT: dict[tuple[str, str, str, int], tuple[float, float]] = {
    # Table 1
    ("cpm17", "vit_h", "self-refining", 0): (82.9, 68.0),
    ("cpm17", "vit_h", "self-refining", 8): (82.0, 65.6),
    ("monuseg", "vit_h", "self-refining", 0): (77.6, 57.6),
    ("monuseg", "vit_h", "self-refining", 8): (76.1, 54.1),
    ("consep", "vit_h", "self-refining", 0): (71.44, 45.30),
    ("consep", "vit_h", "self-refining", 8): (67.3, 41.0),
    ("cpm17", "vit_h", "static", 0): (83.9, 69.5),
    ("cpm17", "vit_h", "static", 8): (82.4, 67.2),
    ("monuseg", "vit_h", "static", 0): (77.2, 57.4),
    ("monuseg", "vit_h", "static", 8): (73.3, 52.6),
    ("consep", "vit_h", "static", 0): (66.70, 40.48),
    ("consep", "vit_h", "static", 8): (64.8, 37.2),
    # Table 2
    ("cpm17", "vit_b", "static", 0): (79.20, 63.49),
    ("monuseg", "vit_b", "static", 0): (73.85, 51.39),
    ("cpm17", "vit_b", "no contrast", 0): (80.04, 64.18),
    ("monuseg", "vit_b", "no contrast", 0): (74.51, 52.69),
    # Tables 2, 3 and 4
    ("cpm17", "vit_b", "self-refining", 0): (80.38, 65.15),
    ("monuseg", "vit_b", "self-refining", 0): (75.22, 53.53),
    ("consep", "vit_b", "self-refining", 0): (61.04, 37.70),
    # Table 3
    ("cpm17", "vit_b", "alpha constant", 0): (80.88, 65.60),
    ("monuseg", "vit_b", "alpha constant", 0): (73.85, 51.39),
    ("consep", "vit_b", "alpha constant", 0): (56.32, 28.55),
    ("cpm17", "vit_b", "alpha exponential", 0): (81.24, 65.69),
    ("monuseg", "vit_b", "alpha exponential", 0): (73.04, 51.19),
    ("consep", "vit_b", "alpha exponential", 0): (62.19, 34.97),
    ("cpm17", "vit_b", "alpha step", 0): (81.78, 66.11),
    ("monuseg", "vit_b", "alpha step", 0): (73.92, 52.27),
    ("consep", "vit_b", "alpha step", 0): (59.82, 32.68),
    # Table 4
    ("consep", "vit_b", "static", 0): (54.44, 27.68),
    ("consep", "vit_l", "static", 0): (61.67, 34.30),
    ("consep", "vit_l", "self-refining", 0): (67.60, 41.92),
}

# What every config of a row sets otherwise than the defaults, beside dataset, encoder and method.
_SETTINGS: dict[str, Any] = {
    "MODEL.META_ARCHITECTURE": "SelfSAM",
    "MODEL.BACKBONE.NAME": "SAMAdapterBackbone",
    "MODEL.PIXEL_MEAN": [123.675, 116.28, 103.53],
    "MODEL.PIXEL_STD": [58.395, 57.12, 57.375],
    "INPUT.MIN_SIZE_TEST": 0,
    "INPUT.FORMAT": "RGB",
    "SOLVER.MAX_ITER": 0,
    "SOLVER.BASE_LR": 0.0001,
    "SOLVER.WEIGHT_DECAY": 0.01,
    "SOLVER.IMS_PER_BATCH": 1,
    "TEST.DETECTIONS_PER_IMAGE": 3000,
}
_NO_CONTRAST = {"MODEL.LOSS.CONTRAST_WEIGHT": 0.0}
_METHOD_SETTINGS: dict[str, dict[str, Any]] = {
    "static": {**_NO_CONTRAST, "PSEUDO_LABEL.NAME": "StaticSAMLabels"},
    "no contrast": _NO_CONTRAST,
    "self-refining": {},
    **{
        f"alpha {schedule}": {"SELF_REFINE.ALPHA_SCHEDULE": schedule}
        for schedule in ("constant", "exponential", "step")
    },
}
# Which seed, on which images it is evaluated, and what costs time or memory.
_FREE = (
    *("SEED", "INPUT.NUCLEI.SHIFT", "INPUT.NUCLEI.SHIFT_SEED", "DATASETS.TEST"),
    *("MODEL.SAM.CHECKPOINT_BLOCKS", "PROMPT.DECODER_MEMORY", "SELF_REFINE.BASE_CACHE"),
    *("INFERENCE.BATCH_SIZE", "INFERENCE.WORKERS", "INFERENCE.AMP"),
)


def paper_figure_of_run(dataset: str, record: Mapping[str, Any]) -> PaperFigure | None:
    """The paper's figure for the row of which a run is one; None where it is of no row.

    Args:
        dataset: that the run was evaluated on: ``NAME_val`` or ``NAME_test`` with the name of
            :func:`paper_figure`. The figure is that of the test images in both cases.
        record: ``encoder``, ``method``, ``shift`` and ``settings``, which must be those of the
            row's config, but for what costs time or memory.
    """
    name, _, split = dataset.rpartition("_")
    figure = paper_figure(name, record["encoder"], record["method"], record["shift"])
    if figure is None or split not in ("val", "test"):
        return None
    expected = {
        **_SETTINGS,
        **_METHOD_SETTINGS[record["method"]],
        "MODEL.SAM.ENCODER": record["encoder"],
        "MODEL.WEIGHTS": f"sam_{record['encoder']}",
        "DATASETS.TRAIN": [f"{name}_train"],
    }
    given = {key: value for key, value in record["settings"].items() if key not in _FREE}
    return figure if given == expected else None


def paper_figure(dataset: str, encoder: str, method: str, shift: float) -> PaperFigure | None:
    """What the paper prints for a row; None where it prints nothing certain.

    The Voronoi row (MIDL) is not among them: of its figures it is not certain in the print which
    dataset and shift they belong to.

    Args:
        dataset: ``cpm17``, ``monuseg`` or ``consep``.
        encoder: MODEL.SAM.ENCODER.
        method: as by :func:`selfsam_d2.engine.method_names.method_of`.
        shift: px.
    """
    printed = _PERCENT.get((dataset, encoder, method, int(shift))) if shift == int(shift) else None
    return None if printed is None else PaperFigure(*(value / 100 for value in printed))
