"""SelfSAM, the meta-architecture: points in training, nothing but the image at inference.

Shapes:
    B: crops of a batch, c: side of a crop, S: encoder input side, K: points inside a crop,
    N: points of the whole transformed image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY, Backbone, build_backbone
from torch import Tensor, nn

from selfsam_d2.modeling.backbone import EMBEDDING
from selfsam_d2.modeling.crop_losses import LOSS_NAMES, contrast_loss, crop_losses, silent_zero
from selfsam_d2.modeling.crop_model import CropModel
from selfsam_d2.modeling.inference import NucleiInference
from selfsam_d2.modeling.nuclei_head import ContrastHead, build_nuclei_head
from selfsam_d2.modeling.prompter import Prompter
from selfsam_d2.modeling.resize import resize_maps
from selfsam_d2.pseudo_labels.build import build_label_maker
from selfsam_d2.pseudo_labels.instance_label import InstanceLabel
from selfsam_d2.pseudo_labels.prompt_label import PromptLabel
from selfsam_d2.pseudo_labels.registry import LabelMaker
from selfsam_d2.pseudo_labels.statistics import label_statistics, mean_statistics
from selfsam_d2.structures.labels import IGNORE
from selfsam_d2.structures.points import generator_seed

__all__ = ["SelfSAM"]


@META_ARCH_REGISTRY.register()
class SelfSAM(CropModel):
    """Nuclei instance segmentation that refines its own labels from points.

    Args:
        backbone: with ``forward_both`` (:class:`SAMAdapterBackbone`).
        prompter: SAM's prompt encoder and mask decoder, Phi_mask.
        nuclei_head: Phi_nuclei, (B, 256, h, w) -> (B, 3, 4h, 4w).
        contrast_head: g_omega and z+.
        label_maker: makes S_P and S_I.
        inference: sliding windows and post-processing.
        loss_weights: name of :data:`selfsam_d2.modeling.crop_losses.LOSS_NAMES` -> weight; 0
            switches the term off. That of a loss which the label maker's method lacks counts as 0.
        keep_empty_prompts: see :func:`selfsam_d2.losses.masks.prompt_loss`.
        input_side: S, px.
        pixel_mean: of RGB in 0 ... 255.
        pixel_std: of RGB in 0 ... 255.
        seed: of what is drawn in a step.

    Attributes:
        alpha: alpha_t of the blend, in [0, 1]; set each epoch by
            ``selfsam_d2.engine.epochs.enter_epoch``, and 1, static labels, until then.
        consensus: whether the consensus filter makes S_I; set with alpha.
        reprompts: whether boxes that the model has found prompt m_base; set with alpha.
        step: number of the training step; set by the hook.
        label_statistics: of the last training step: shares in [0, 1].
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        prompter: Prompter,
        nuclei_head: nn.Module,
        contrast_head: ContrastHead,
        label_maker: LabelMaker,
        inference: NucleiInference,
        loss_weights: dict[str, float],
        keep_empty_prompts: bool,
        input_side: int,
        pixel_mean: list[float],
        pixel_std: list[float],
        seed: int = 0,
    ) -> None:
        super().__init__(inference=inference, pixel_mean=pixel_mean, pixel_std=pixel_std)
        self.backbone = backbone
        self.prompter = prompter
        self.nuclei_head = nuclei_head
        self.contrast_head = contrast_head
        self.label_maker = label_maker
        self.loss_weights = {
            name: 0.0 if name in label_maker.lacks_losses else weight
            for name, weight in loss_weights.items()
        }
        self.keep_empty_prompts = keep_empty_prompts
        self.input_side = input_side
        self.seed = seed
        self.alpha = 1.0
        self.consensus = True
        self.reprompts = False
        self.step = 0
        self.label_statistics: dict[str, float] = {}

    @classmethod
    def from_config(cls, cfg: Any) -> dict[str, Any]:
        loss = cfg.MODEL.LOSS
        weights = (
            loss.PROMPT_WEIGHT,
            loss.FOREGROUND_WEIGHT,
            loss.DISTANCE_WEIGHT,
            loss.CONTRAST_WEIGHT,
        )
        backbone = build_backbone(cfg)
        return {
            "backbone": backbone,
            "prompter": Prompter(cfg),
            "nuclei_head": build_nuclei_head(cfg, backbone.output_shape()),
            "contrast_head": ContrastHead(cfg),
            "label_maker": build_label_maker(cfg),
            "inference": NucleiInference(cfg),
            "loss_weights": dict(zip(LOSS_NAMES, weights, strict=True)),
            "keep_empty_prompts": loss.KEEP_EMPTY_PROMPTS,
            "input_side": cfg.MODEL.SAM.INPUT_SIDE,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "seed": max(cfg.SEED, 0),
        }

    def forward(self, batched_inputs: list[dict[str, Any]]) -> Any:
        """Losses of a batch in training, predictions otherwise.

        Args:
            batched_inputs: one dict an image. Always: ``image`` (3, H, W) uint8 RGB. In training,
                where all crops have one size (c, c): ``points`` (K, 2) and ``context_points``
                (N, 2) xy in px of the crop, ``outside`` (c, c) bool where the crop reaches
                beyond its image, ``image_id``. With stored labels: ``prompt_label`` and
                ``instance_label`` (c, c), ids as in ``points`` (1 ... K; a nucleus whose point
                lies outside the crop has an id above K), -1 ignored. With stored base masks:
                ``base_masks`` (K, c, c) m_base in [0, 1].

        Returns:
            training: dict of the four losses, weighted, means over the batch. Otherwise: a list
            of dicts, see :class:`NucleiInference`.
        """
        if not self.training:
            return self.predict_images(batched_inputs)
        crops = torch.stack([sample["image"] for sample in batched_inputs]).to(self.device)
        base, adapted = self._embeddings(crops, batched_inputs[0])
        head = resize_maps(self.nuclei_head(adapted), crops.shape[-2:])
        contrast = self.loss_weights["loss_contrast"] > 0
        points = max(1, sum(len(sample["points"]) for sample in batched_inputs))
        features = self.contrast_head(adapted) if contrast else None
        per_image = [
            self._image_losses(
                sample,
                base=None if base is None else base[i : i + 1],
                adapted=adapted[i : i + 1],
                head=head[i],
                features=None if features is None else features[i],
                share=len(sample["points"]) / points,
            )
            for i, sample in enumerate(batched_inputs)
        ]
        losses, statistics = zip(*per_image, strict=True)
        self.label_statistics = mean_statistics(statistics)
        return {
            name: weight * torch.stack([loss[name] for loss in losses]).mean()
            for name, weight in self.loss_weights.items()
        }

    def _embeddings(self, images: Tensor, sample: dict[str, Any]) -> tuple[Tensor | None, Tensor]:
        """z_base, if a label needs it, and z_adapt (B, 256, S/16, S/16)."""
        prepared = self.preprocess(images)
        if self.alpha == 0 or "prompt_label" in sample or "base_masks" in sample:
            return None, self.backbone(prepared)[EMBEDDING]
        base, adapted = self.backbone.forward_both(prepared)
        return base[EMBEDDING], adapted[EMBEDDING]

    def predict_windows(self, images: Tensor) -> Tensor:
        embedding = self.backbone(self.preprocess(images.to(self.device)))[EMBEDDING]
        return self.predict_embedding(embedding, images.shape[-2:])

    def predict_embedding(self, embedding: Tensor, size: Sequence[int]) -> Tensor:
        """As :meth:`predict_windows`, from z_adapt (B, 256, S/16, S/16): (B, 3, *size)."""
        head = resize_maps(self.inference_settings.decode(self.nuclei_head, embedding), size)
        return torch.cat([head[:, :1].sigmoid(), head[:, 1:]], dim=1)

    def prompt_logits(
        self, embedding: Tensor, tokens: Tensor, size: Sequence[int], share: float = 1.0
    ) -> Tensor:
        """Mask logits of each point, resized to the crop: (K, *size); see :class:`Prompter`."""
        return resize_maps(self.prompter(embedding, tokens, share)[None], size)[0]

    def make_prompt_label(
        self,
        sample: dict[str, Any],
        base_masks: Tensor | None,
        adapted_masks: Tensor | None,
    ) -> PromptLabel:
        """S_P (c, c) of one crop, from m_base and m_adapt (K, c, c) in [0, 1].

        ``base_masks`` may be None where alpha is 0, ``adapted_masks`` where it is 1, and both
        where the label maker needs none.
        """
        return self.label_maker.prompt_label(
            sample["image"].to(self.device),
            sample["points"].to(self.device),
            sample["context_points"].to(self.device),
            base=base_masks,
            adapted=adapted_masks,
            alpha=self.alpha,
        )

    def make_instance_label(self, label: PromptLabel, foreground: Tensor) -> InstanceLabel:
        """S_I (c, c) of one crop, from S_P and B (c, c)."""
        return self.label_maker.instance_label(label, foreground, consensus=self.consensus)

    def encode_prompts(
        self, sample: dict[str, Any], seen: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """Prompt tokens (K, tokens, 256) of one crop; ``seen`` as in :class:`Prompter`."""
        return self.prompter.encode(
            sample["points"].to(self.device),
            sample["context_points"].to(self.device),
            sample["image"].shape[-1],
            generator_seed(self.seed, self.step, sample["image_id"]),
            seen,
        )

    def _image_losses(
        self,
        sample: dict[str, Any],
        *,
        base: Tensor | None,
        adapted: Tensor,
        head: Tensor,
        features: Tensor | None,
        share: float,
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        foreground = head[0].sigmoid().detach()
        logits, labels = self._labels(sample, base, adapted, foreground, share)
        outside = sample["outside"].to(self.device)
        prompt_labels, instance_labels = (each.masked_fill(outside, IGNORE) for each in labels[:2])
        losses = crop_losses(
            logits,
            head,
            prompt_labels,
            instance_labels,
            weights=self.loss_weights,
            keep_empty=self.keep_empty_prompts,
        )
        if features is None:
            losses["loss_contrast"] = silent_zero(list(self.contrast_head.parameters()))
        else:
            losses["loss_contrast"] = contrast_loss(
                self.contrast_head,
                features,
                sample["points"].to(self.device),
                foreground,
                prompt_labels,
                generator_seed(self.seed, self.step, sample["image_id"]),
            )
        return losses, label_statistics(
            prompt_labels, instance_labels, labels[2], ~outside, len(sample["points"])
        )

    def _labels(
        self,
        sample: dict[str, Any],
        base: Tensor | None,
        adapted: Tensor,
        foreground: Tensor,
        share: float,
    ) -> tuple[Tensor | None, tuple[Tensor, Tensor, Tensor]]:
        """Logits of m_adapt (None if nothing needs them), and S_P, S_I, recovered pixels."""
        stored = "prompt_label" in sample
        given = sample["base_masks"].to(self.device).float() if "base_masks" in sample else None
        tokens = self.encode_prompts(sample)
        logits = None
        wanted = self.reprompts or (self.label_maker.uses_adapted and self.alpha < 1)
        if self.loss_weights["loss_prompt"] > 0 or (wanted and not stored):
            logits = self.prompt_logits(adapted, tokens, foreground.shape, share)
        if stored:
            prompt_labels = sample["prompt_label"].to(self.device)
            instance_labels = sample["instance_label"].to(self.device)
            return logits, (prompt_labels, instance_labels, torch.zeros_like(prompt_labels).bool())
        adapted_masks = None if logits is None else logits.detach().sigmoid()
        if base is not None:
            if self.reprompts and adapted_masks is not None:
                tokens = self.encode_prompts(sample, (adapted_masks, foreground))
            with torch.no_grad():
                given = self.prompt_logits(base, tokens, foreground.shape).sigmoid()
        label = self.make_prompt_label(sample, given, adapted_masks)
        instance = self.make_instance_label(label, foreground)
        return logits, (label.labels, instance.labels, instance.recovered)
