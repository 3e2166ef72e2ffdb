"""What a config is called in a table: the row of the paper that it stands for, or what is new."""

from __future__ import annotations

from detectron2.config import CfgNode

from selfsam_d2.engine.epochs import epoch_reprompts
from selfsam_d2.errors import InputError

__all__ = ["method_of"]

# Label makers whose name says the whole method, losses included.
OURS = "SelfRefiningLabels"
RIVALS = {"VoronoiClusterLabels": "voronoi", "StaticSAMLabels": "static"}


def method_of(cfg: CfgNode) -> str:
    """The row of the paper that a config stands for.

    ``static``: InstaSAM; ``no contrast``: EMA and consensus; ``alpha constant`` …: Table 3;
    ``self-refining``: the whole method; ``voronoi``: the MIDL row; ``stain joins``, ``stain and
    boxes join`` …: who else has a say in the labels, not in the paper: the haematoxylin stain, the
    boxes of what the model sees. A label maker of the user's own is its name.

    Raises:
        InputError: it depends on the number of epochs, which only the images tell.
    """
    labels, refine = cfg.PSEUDO_LABEL, cfg.SELF_REFINE
    if labels.NAME != OURS:
        return RIVALS.get(labels.NAME, str(labels.NAME))
    contrast = cfg.MODEL.LOSS.CONTRAST_WEIGHT > 0
    joining = ["stain"] * (labels.STAIN_WEIGHT > 0) + ["boxes"] * _boxes_join(cfg)
    if joining:
        return _method_of_joined_labels(cfg, joining, contrast)
    if refine.ALPHA_SCHEDULE == "static":
        return "alpha static" if contrast or labels.CONSENSUS else "static"
    name = "self-refining"
    if refine.ALPHA_SCHEDULE != "linear":
        name = f"alpha {refine.ALPHA_SCHEDULE}"
    if not labels.CONSENSUS:
        name += ", no consensus"
    if contrast:
        return name
    return "no contrast" if name == "self-refining" else f"{name}, no contrast"


def _boxes_join(cfg: CfgNode) -> bool:
    """Whether there is an epoch in which boxes prompt m_base."""
    start, steps = cfg.PSEUDO_LABEL.REPROMPT_START, cfg.SOLVER.MAX_ITER
    if not epoch_reprompts(cfg, start):
        return False
    if start > 0 and steps > 0:
        raise InputError(
            f"PSEUDO_LABEL.REPROMPT_START {start}",
            f"the images decide whether SOLVER.MAX_ITER {steps} reaches it; give SOLVER.EPOCHS "
            "with SOLVER.MAX_ITER 0, or PSEUDO_LABEL.REPROMPT_START 0",
        )
    return bool(start <= 0 or start < cfg.SOLVER.EPOCHS)


def _method_of_joined_labels(cfg: CfgNode, joining: list[str], contrast: bool) -> str:
    """Who joins static masks without consensus and contrast, or with which of them."""
    name = f"{' and '.join(joining)} join{'s' * (joining == ['stain'])}"
    others = [] if cfg.SELF_REFINE.ALPHA_SCHEDULE == "static" else [cfg.SELF_REFINE.ALPHA_SCHEDULE]
    others += ["consensus"] * cfg.PSEUDO_LABEL.CONSENSUS + ["contrast"] * contrast
    return ", ".join([name, *(f"with {each}" for each in others)])
