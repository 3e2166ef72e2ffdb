"""The label maker that a config names."""

from __future__ import annotations

from typing import Any

# These two register their label makers.
import selfsam_d2.pseudo_labels.self_refining
import selfsam_d2.pseudo_labels.voronoi_cluster  # noqa: F401
from selfsam_d2.pseudo_labels.registry import PSEUDO_LABEL_REGISTRY, LabelMaker

__all__ = ["build_label_maker"]


def build_label_maker(cfg: Any) -> LabelMaker:
    """The label maker named by ``cfg.PSEUDO_LABEL.NAME``."""
    return PSEUDO_LABEL_REGISTRY.get(cfg.PSEUDO_LABEL.NAME)(cfg)
