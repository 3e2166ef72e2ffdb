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

from selfsam_d2.losses.contrastive import (
    draw_hard_background,
    instance_contrastive_loss,
    read_at_points,
)
from selfsam_d2.losses.hv import hv_map, hv_map_loss
from selfsam_d2.losses.masks import foreground_loss, prompt_loss
from selfsam_d2.modeling.backbone import EMBEDDING
from selfsam_d2.modeling.inference import NucleiInference
from selfsam_d2.modeling.nuclei_head import ContrastHead, build_nuclei_head
from selfsam_d2.modeling.prompter import Prompter
from selfsam_d2.modeling.resize import resize_maps
from selfsam_d2.pseudo_labels.instance_label import InstanceLabel
from selfsam_d2.pseudo_labels.maker import PseudoLabelMaker
from selfsam_d2.pseudo_labels.prompt_label import PromptLabel
from selfsam_d2.pseudo_labels.statistics import label_statistics
from selfsam_d2.structures.labels import IGNORE
from selfsam_d2.structures.points import generator_seed

__all__ = ["LOSS_NAMES", "SelfSAM"]

LOSS_NAMES = ("loss_prompt", "loss_foreground", "loss_distance", "loss_contrast")


@META_ARCH_REGISTRY.register()
class SelfSAM(nn.Module):
    """Nuclei instance segmentation that refines its own labels from points.

    Args:
        backbone: with ``forward_both`` (:class:`SAMAdapterBackbone`).
        prompter: SAM's prompt encoder and mask decoder, Phi_mask.
        nuclei_head: Phi_nuclei, (B, 256, h, w) -> (B, 3, 4h, 4w).
        contrast_head: g_omega and z+.
        label_maker: makes m_u, S_P and S_I.
        inference: sliding windows and post-processing.
        loss_weights: name of :data:`LOSS_NAMES` -> weight; 0 switches the term off.
        keep_empty_prompts: see :func:`selfsam_d2.losses.masks.prompt_loss`.
        input_side: S, px.
        pixel_mean: of RGB in 0 ... 255.
        pixel_std: of RGB in 0 ... 255.
        seed: of what is drawn in a step.

    Attributes:
        alpha: alpha_t of the blend, in [0, 1]; set by the self-refine hook each epoch.
        consensus: whether the consensus filter makes S_I; set by the hook each epoch.
        step: number of the training step; set by the hook.
        label_statistics: of the last training step: shares in [0, 1].
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        prompter: Prompter,
        nuclei_head: nn.Module,
        contrast_head: ContrastHead,
        label_maker: PseudoLabelMaker,
        inference: NucleiInference,
        loss_weights: dict[str, float],
        keep_empty_prompts: bool,
        input_side: int,
        pixel_mean: list[float],
        pixel_std: list[float],
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.prompter = prompter
        self.nuclei_head = nuclei_head
        self.contrast_head = contrast_head
        self.label_maker = label_maker
        self.inference_settings = inference
        self.loss_weights = loss_weights
        self.keep_empty_prompts = keep_empty_prompts
        self.input_side = input_side
        self.seed = seed
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), False)
        self.alpha = 1.0
        self.consensus = True
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
        return {
            "backbone": build_backbone(cfg),
            "prompter": Prompter(cfg),
            "nuclei_head": build_nuclei_head(cfg),
            "contrast_head": ContrastHead(cfg),
            "label_maker": PseudoLabelMaker(cfg),
            "inference": NucleiInference(cfg),
            "loss_weights": dict(zip(LOSS_NAMES, weights, strict=True)),
            "keep_empty_prompts": loss.KEEP_EMPTY_PROMPTS,
            "input_side": cfg.MODEL.SAM.INPUT_SIDE,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "seed": max(cfg.SEED, 0),
        }

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def forward(self, batched_inputs: list[dict[str, Any]]) -> Any:
        """Losses of a batch in training, predictions otherwise.

        Args:
            batched_inputs: one dict an image. Always: ``image`` (3, H, W) uint8 RGB. In training,
                where all crops have one size (c, c): ``points`` (K, 2) and ``context_points``
                (N, 2) xy in px of the crop, ``outside`` (c, c) bool where the crop reaches
                beyond its image, ``image_id``. With stored labels: ``prompt_label`` and
                ``instance_label`` (c, c), ids as in ``points`` (1 ... K; a nucleus whose point
                lies outside the crop has an id above K), -1 ignored.

        Returns:
            training: dict of the four losses, weighted, means over the batch. Otherwise: a list
            of dicts, see :class:`NucleiInference`.
        """
        if not self.training:
            return [
                self.inference_settings(self.predict_windows, sample["image"].to(self.device))
                for sample in batched_inputs
            ]
        images = torch.stack([sample["image"] for sample in batched_inputs]).to(self.device)
        stored = "prompt_label" in batched_inputs[0]
        if stored:
            base, adapted = None, self.backbone(self.preprocess(images))[EMBEDDING]
        else:
            both = self.backbone.forward_both(self.preprocess(images))
            base, adapted = both[0][EMBEDDING], both[1][EMBEDDING]
        head = resize_maps(self.nuclei_head(adapted), images.shape[-2:])
        features = self.contrast_head(adapted)
        per_image = [
            self._image_losses(
                sample,
                base=None if base is None else base[i : i + 1],
                adapted=adapted[i : i + 1],
                head=head[i],
                features=features[i],
            )
            for i, sample in enumerate(batched_inputs)
        ]
        losses, statistics = zip(*per_image, strict=True)
        self.label_statistics = _means(statistics)
        return {
            name: weight * torch.stack([loss[name] for loss in losses]).mean()
            for name, weight in self.loss_weights.items()
        }

    def preprocess(self, images: Tensor) -> Tensor:
        """(B, 3, h, w) uint8 RGB -> (B, 3, S, S) normalised."""
        normalised = (images.float() - self.pixel_mean) / self.pixel_std
        return resize_maps(normalised, (self.input_side, self.input_side))

    def predict_windows(self, images: Tensor) -> Tensor:
        """Prompt-free prediction.

        Args:
            images: (B, 3, h, w) uint8 RGB.

        Returns:
            (B, 3, h, w): B in [0, 1], then the HV map in x and y.
        """
        embedding = self.backbone(self.preprocess(images.to(self.device)))[EMBEDDING]
        return self.predict_embedding(embedding, images.shape[-2:])

    def predict_embedding(self, embedding: Tensor, size: Sequence[int]) -> Tensor:
        """As :meth:`predict_windows`, from z_adapt (B, 256, S/16, S/16): (B, 3, *size)."""
        head = resize_maps(self.nuclei_head(embedding), size)
        return torch.cat([head[:, :1].sigmoid(), head[:, 1:]], dim=1)

    def prompt_logits(self, embedding: Tensor, tokens: Tensor, size: Sequence[int]) -> Tensor:
        """Mask logits of each point, resized to the crop: (K, *size)."""
        return resize_maps(self.prompter(embedding, tokens)[None], size)[0]

    def blend(self, sample: dict[str, Any], base_masks: Tensor, adapted_logits: Tensor) -> Tensor:
        """m_u (K, c, c) of one crop, from m_base and the logits of m_adapt (K, c, c)."""
        limits = self.label_maker.limits(
            sample["image"].to(self.device),
            sample["points"].to(self.device),
            sample["context_points"].to(self.device),
        )
        adapted = adapted_logits.detach().sigmoid()
        return self.label_maker.targets(base_masks, adapted, self.alpha, limits)

    def make_instance_label(self, label: PromptLabel, foreground: Tensor) -> InstanceLabel:
        """S_I (c, c) of one crop, from S_P and B (c, c)."""
        return self.label_maker.instance_label(label, foreground, consensus=self.consensus)

    def encode_prompts(self, sample: dict[str, Any]) -> Tensor:
        """Prompt tokens (K, tokens, 256) of one crop."""
        return self.prompter.encode(
            sample["points"].to(self.device),
            sample["context_points"].to(self.device),
            sample["image"].shape[-1],
            generator_seed(self.seed, self.step, sample["image_id"]),
        )

    def _image_losses(
        self,
        sample: dict[str, Any],
        *,
        base: Tensor | None,
        adapted: Tensor,
        head: Tensor,
        features: Tensor,
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        tokens = self.encode_prompts(sample)
        logits = self.prompt_logits(adapted, tokens, head.shape[-2:])
        foreground = head[0].sigmoid().detach()
        recovered = torch.zeros_like(foreground, dtype=torch.bool)
        if base is None:
            prompt_labels = sample["prompt_label"].to(self.device)
            instance_labels = sample["instance_label"].to(self.device)
        else:
            with torch.no_grad():
                base_masks = self.prompt_logits(base, tokens, foreground.shape).sigmoid()
            label = self.label_maker.prompt_label(self.blend(sample, base_masks, logits))
            instance = self.make_instance_label(label, foreground)
            prompt_labels, instance_labels = label.labels, instance.labels
            recovered = instance.recovered
        outside = sample["outside"].to(self.device)
        prompt_labels = prompt_labels.masked_fill(outside, IGNORE)
        instance_labels = instance_labels.masked_fill(outside, IGNORE)
        losses = {
            "loss_prompt": prompt_loss(logits, prompt_labels, keep_empty=self.keep_empty_prompts),
            "loss_foreground": foreground_loss(head[0], instance_labels),
            "loss_distance": hv_map_loss(
                head[1:], hv_map(instance_labels), instance_labels > 0, instance_labels == IGNORE
            ),
            "loss_contrast": self._contrast(sample, features, foreground, prompt_labels),
        }
        return losses, label_statistics(
            prompt_labels, instance_labels, recovered, ~outside, len(sample["points"])
        )

    def _contrast(
        self, sample: dict[str, Any], features: Tensor, foreground: Tensor, prompt_labels: Tensor
    ) -> Tensor:
        size = (foreground.shape[0], foreground.shape[1])
        negatives = draw_hard_background(
            foreground,
            prompt_labels,
            threshold=self.contrast_head.foreground_threshold,
            count=self.contrast_head.num_negatives,
            seed=generator_seed(self.seed, self.step, sample["image_id"]),
        )
        return instance_contrastive_loss(
            read_at_points(features, sample["points"].to(self.device), size),
            read_at_points(features, negatives, size),
            self.contrast_head.prototype,
            temperature=self.contrast_head.temperature,
        )


def _means(dicts: tuple[dict[str, float], ...]) -> dict[str, float]:
    return {name: sum(each[name] for each in dicts) / len(dicts) for name in dicts[0]}
