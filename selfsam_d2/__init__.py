"""SelfSAM: nuclei instance segmentation from point annotations, as a Detectron2 plugin."""

from __future__ import annotations

import importlib
import warnings
from typing import TYPE_CHECKING, Any

# Detectron2 and its dependencies warn about their own deprecated calls when they are imported; a
# user can do nothing about it.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import detectron2.engine
    import detectron2.model_zoo  # noqa: F401

from selfsam_d2.config import add_selfsam_config
from selfsam_d2.data.registration import register_builtin_datasets, register_nuclei_instances
from selfsam_d2.modeling.conv_nuclei_head import ConvNucleiHead
from selfsam_d2.modeling.feature_pyramid import PaddedFeaturePyramid
from selfsam_d2.modeling.nuclei_segmentor import NucleiSegmentor
from selfsam_d2.modeling.selfsam import SelfSAM
from selfsam_d2.modeling.weights import load_weights

if TYPE_CHECKING:
    from selfsam_d2.prediction.predictor import NucleiPredictor

__all__ = [
    "ConvNucleiHead",
    "NucleiPredictor",
    "NucleiSegmentor",
    "PaddedFeaturePyramid",
    "SelfSAM",
    "add_selfsam_config",
    "load_weights",
    "register_nuclei_instances",
]

# Imported when asked for: it needs the trainers, which who only takes a backbone does not.
LATER = {"NucleiPredictor": "selfsam_d2.prediction.predictor"}


def __getattr__(name: str) -> Any:
    if name not in LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(LATER[name]), name)


register_builtin_datasets()
