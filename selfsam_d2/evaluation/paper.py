"""The figures that the paper prints, to stand beside one's own."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["PaperFigure", "paper_figure"]


class PaperFigure(NamedTuple):
    """Dice and AJI on the test images of the paper, in [0, 1]."""

    dice: float
    aji: float


# (dataset, encoder, method, shift) -> Dice, AJI in percent, as printed in Tables 1 to 4 of
# Nam & Park, Diagnostics 2026. Methods are named as by selfsam_d2.engine.experiments.method_of.
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


def paper_figure(dataset: str, encoder: str, method: str, shift: float) -> PaperFigure | None:
    """What the paper prints for a row; None where it prints nothing certain.

    The Voronoi row (MIDL) is not among them: of its figures it is not certain in the print which
    dataset and shift they belong to.

    Args:
        dataset: ``cpm17``, ``monuseg`` or ``consep``.
        encoder: MODEL.SAM.ENCODER.
        method: as by :func:`selfsam_d2.engine.experiments.method_of`.
        shift: px.
    """
    printed = _PERCENT.get((dataset, encoder, method, int(shift))) if shift == int(shift) else None
    return None if printed is None else PaperFigure(*(value / 100 for value in printed))
