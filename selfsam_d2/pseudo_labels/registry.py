"""What every label maker has in common, and the registry that knows them by name."""

from __future__ import annotations

from abc import ABC, abstractmethod

from detectron2.utils.registry import Registry
from torch import Tensor

from selfsam_d2.pseudo_labels.instance_label import InstanceLabel
from selfsam_d2.pseudo_labels.prompt_label import PromptLabel

__all__ = ["PSEUDO_LABEL_REGISTRY", "LabelMaker"]

PSEUDO_LABEL_REGISTRY = Registry("PSEUDO_LABEL")
PSEUDO_LABEL_REGISTRY.__doc__ = """
Registry for label makers, subclasses of :class:`LabelMaker` made from a config: what the points of
a crop become labels by, for PSEUDO_LABEL.NAME.
"""


class LabelMaker(ABC):
    """Makes the two labels of a crop from its points, never from masks of an annotation.

    Attributes:
        fixed_alpha: weight of the base masks in every epoch, in [0, 1]; None: that of
            SELF_REFINE.ALPHA_SCHEDULE. At 0 m_base is not computed.
        uses_adapted: whether the labels need m_adapt where alpha is below 1.
        uses_consensus: whether PSEUDO_LABEL.CONSENSUS applies.
        reprompts: whether PSEUDO_LABEL.REPROMPT applies: boxes of m_adapt and B prompt m_base.
        lacks_losses: names of the losses that its method has not, whatever the weights of
            MODEL.LOSS; of :data:`selfsam_d2.modeling.crop_losses.LOSS_NAMES`.
    """

    fixed_alpha: float | None = None
    uses_adapted: bool = True
    uses_consensus: bool = False
    reprompts: bool = False
    lacks_losses: frozenset[str] = frozenset()

    @abstractmethod
    def prompt_label(
        self,
        image: Tensor,
        points: Tensor,
        context: Tensor,
        *,
        base: Tensor | None,
        adapted: Tensor | None,
        alpha: float,
    ) -> PromptLabel:
        """S_P.

        Args:
            image: (3, H, W) uint8 RGB.
            points: (K, 2) xy, px, inside the crop.
            context: (N, 2) xy, px, all points of the transformed image.
            base: (K, H, W) m_base in [0, 1]; may be None where alpha is 0.
            adapted: (K, H, W) m_adapt in [0, 1]; may be None where alpha is 1, or where
                ``uses_adapted`` is false.
            alpha: weight of ``base``, in [0, 1].
        """

    @abstractmethod
    def instance_label(
        self, prompt_label: PromptLabel, foreground: Tensor, *, consensus: bool = True
    ) -> InstanceLabel:
        """S_I from S_P and B.

        Args:
            prompt_label: S_P of the crop.
            foreground: (H, W) B in [0, 1].
            consensus: whether a consensus filter may act in this epoch.
        """
