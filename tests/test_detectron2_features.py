"""What is used of Detectron2 is there, whatever it calls its version: the first test to run on one.

Its distributions carry the same number for different code, so features are asked for, not numbers.
"""

import importlib
import inspect
import pydoc

import pytest

# Module -> names that the package, its tools or its configs use.
NAMES = {
    "detectron2.checkpoint": ("DetectionCheckpointer",),
    "detectron2.config": ("CfgNode", "LazyCall", "LazyConfig", "configurable", "instantiate"),
    "detectron2.data": (
        *("DatasetCatalog", "DatasetMapper", "MetadataCatalog", "build_detection_test_loader"),
        *("build_detection_train_loader", "get_detection_dataset_dicts"),
    ),
    "detectron2.engine": (
        *("AMPTrainer", "DefaultPredictor", "DefaultTrainer", "HookBase", "SimpleTrainer"),
        *("default_argument_parser", "default_setup", "hooks", "launch"),
    ),
    "detectron2.engine.defaults": ("create_ddp_model",),
    "detectron2.engine.hooks": ("EvalHook", "PeriodicCheckpointer"),
    "detectron2.engine.train_loop": ("TrainerBase",),
    "detectron2.evaluation": (
        *("COCOEvaluator", "DatasetEvaluator", "DatasetEvaluators", "inference_on_dataset"),
    ),
    "detectron2.layers": ("ShapeSpec", "get_norm"),
    "detectron2.model_zoo": ("get_config",),
    "detectron2.modeling": (
        *("BACKBONE_REGISTRY", "META_ARCH_REGISTRY", "Backbone", "SimpleFeaturePyramid", "ViT"),
        *("build_backbone", "build_model"),
    ),
    "detectron2.modeling.backbone.fpn": ("LastLevelMaxPool",),
    "detectron2.modeling.backbone.utils": (
        *("get_abs_pos", "get_rel_pos", "window_partition", "window_unpartition"),
    ),
    "detectron2.modeling.meta_arch.semantic_seg": ("SemSegFPNHead",),
    "detectron2.solver.build": ("maybe_add_gradient_clipping",),
    "detectron2.structures": ("BitMasks", "Boxes", "BoxMode", "ImageList", "Instances"),
    "detectron2.utils.registry": ("Registry",),
}
# Callable -> parameters that are given to it by name.
PARAMETERS = {
    "detectron2.data.build_detection_train_loader": (
        *("mapper", "sampler", "total_batch_size", "aspect_ratio_grouping", "num_workers"),
    ),
    "detectron2.data.build_detection_test_loader": ("mapper", "batch_size", "num_workers"),
    "detectron2.evaluation.COCOEvaluator": ("max_dets_per_image", "use_fast_impl"),
    "detectron2.modeling.SimpleFeaturePyramid": (
        *("net", "in_feature", "out_channels", "scale_factors", "top_block", "norm"),
    ),
    "detectron2.modeling.ViT": (
        *("img_size", "pretrain_img_size", "pretrain_use_cls_token", "in_chans", "embed_dim"),
        *("depth", "num_heads", "drop_path_rate", "use_rel_pos", "window_size"),
        *("window_block_indexes", "out_feature"),
    ),
    "detectron2.modeling.meta_arch.semantic_seg.SemSegFPNHead": (
        *("num_classes", "conv_dims", "common_stride", "norm"),
    ),
    "detectron2.structures.ImageList.from_tensors": ("padding_constraints",),
}


@pytest.mark.parametrize("module", NAMES)
def test_names_are_there(module):
    found = importlib.import_module(module)
    assert [name for name in NAMES[module] if not hasattr(found, name)] == []


@pytest.mark.parametrize("path", PARAMETERS)
def test_parameters_are_there(path):
    known = set(inspect.signature(pydoc.locate(path)).parameters)
    assert [name for name in PARAMETERS[path] if name not in known] == []


def test_the_lazy_mask_rcnn_is_shipped():
    from detectron2.model_zoo import get_config

    assert get_config("common/models/mask_rcnn_fpn.py").model.roi_heads is not None
