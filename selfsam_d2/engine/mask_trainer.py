"""The trainer of everything but SelfSAM: heads of Detectron2 and of ours that learn from masks."""

from __future__ import annotations

from typing import Any

from selfsam_d2.data.mapper import ImageDatasetMapper
from selfsam_d2.data.mask_mapper import MaskDatasetMapper
from selfsam_d2.engine.architectures import predicts_by_windows, training_target
from selfsam_d2.engine.crop_trainer import CropTrainer

__all__ = ["MaskTrainer"]


class MaskTrainer(CropTrainer):
    """Trains a meta-architecture from instance masks, true ones or exported pseudo labels.

    ``SOLVER.MAX_ITER`` and Detectron2's learning-rate schedule say how long and how fast. A model
    that resizes nothing itself sees training crops and test images at the scale
    ``MODEL.SAM.INPUT_SIDE / INPUT.NUCLEI.CROP``; ``INPUT.MIN_SIZE_*`` are not read.

    Args:
        cfg: with the keys of :func:`selfsam_d2.config.add_selfsam_config`.
        resume: see :class:`CropTrainer`.
    """

    def __init__(self, cfg: Any, *, resume: bool = False) -> None:
        super().__init__(cfg, resume=resume)
        self.max_iter = self.cfg.SOLVER.MAX_ITER
        self.assemble(MaskDatasetMapper(self.cfg, target=training_target(self.cfg)))

    @classmethod
    def build_test_mapper(cls, cfg: Any) -> ImageDatasetMapper:
        """Whole images, enlarged as in training where the model does not do it itself."""
        if predicts_by_windows(cfg):
            return ImageDatasetMapper()
        return ImageDatasetMapper(scale=cfg.MODEL.SAM.INPUT_SIDE / cfg.INPUT.NUCLEI.CROP)
