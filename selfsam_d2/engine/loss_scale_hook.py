"""Stop a training in half precision that no longer learns."""

from __future__ import annotations

from detectron2.engine import AMPTrainer, HookBase

from selfsam_d2.errors import NonFiniteLossError

__all__ = ["PRECISIONS", "LossScaleHook"]

PRECISIONS = ("float16", "bfloat16")
SMALLEST_SCALE = 1.0


class LossScaleHook(HookBase):
    """Watches the loss scale, which halves whenever gradients overflow and the step is skipped.

    It starts at 65536. Below 1 gradients overflow that are not scaled up at all, so every step
    would be skipped from then on, without a word.

    Args:
        amp: the trainer whose steps are watched.
    """

    def __init__(self, amp: AMPTrainer) -> None:
        self.amp = amp

    def after_step(self) -> None:
        """Look at the scale.

        Raises:
            NonFiniteLossError: it is below 1.
        """
        scale = self.amp.grad_scaler.get_scale()
        if scale < SMALLEST_SCALE:
            raise NonFiniteLossError(
                f"step {self.trainer.iter + 1}: gradients overflow in half precision, and the "
                f"loss scale fell to {scale:g}; set SOLVER.AMP.PRECISION bfloat16 or "
                "SOLVER.AMP.ENABLED False, and go on from the last checkpoint with --resume"
            )
