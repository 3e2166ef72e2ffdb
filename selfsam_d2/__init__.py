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
from selfsam_d2.errors import SelfSAMError
from selfsam_d2.modeling.backbone import SAMAdapterBackbone
from selfsam_d2.modeling.conv_nuclei_head import ConvNucleiHead
from selfsam_d2.modeling.feature_pyramid import PaddedFeaturePyramid
from selfsam_d2.modeling.nuclei_segmentor import NucleiSegmentor
from selfsam_d2.modeling.selfsam import SelfSAM
from selfsam_d2.modeling.weights import load_weights

if TYPE_CHECKING:
    from selfsam_d2.data.mapper import PointPromptDatasetMapper
    from selfsam_d2.engine.config_files import merge_config_file
    from selfsam_d2.engine.mask_trainer import MaskTrainer
    from selfsam_d2.engine.trainer import SelfSAMTrainer
    from selfsam_d2.evaluation.metrics import nuclei_metrics
    from selfsam_d2.evaluation.nuclei_evaluator import NucleiEvaluator
    from selfsam_d2.prediction.predictor import NucleiPredictor

__all__ = [
    "ConvNucleiHead",
    "MaskTrainer",
    "NucleiEvaluator",
    "NucleiPredictor",
    "NucleiSegmentor",
    "PaddedFeaturePyramid",
    "PointPromptDatasetMapper",
    "SAMAdapterBackbone",
    "SelfSAM",
    "SelfSAMError",
    "SelfSAMTrainer",
    "add_selfsam_config",
    "load_weights",
    "merge_config_file",
    "nuclei_metrics",
    "register_nuclei_instances",
]

# Imported when asked for: who only takes a backbone needs no trainer.
LATER = {
    "MaskTrainer": "selfsam_d2.engine.mask_trainer",
    "NucleiEvaluator": "selfsam_d2.evaluation.nuclei_evaluator",
    "NucleiPredictor": "selfsam_d2.prediction.predictor",
    "PointPromptDatasetMapper": "selfsam_d2.data.mapper",
    "SelfSAMTrainer": "selfsam_d2.engine.trainer",
    "merge_config_file": "selfsam_d2.engine.config_files",
    "nuclei_metrics": "selfsam_d2.evaluation.metrics",
}


def __getattr__(name: str) -> Any:
    if name not in LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(LATER[name]), name)


register_builtin_datasets()
