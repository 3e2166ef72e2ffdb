"""Stop at the first loss or weight that is not finite, and say which it is and of which image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from detectron2.engine import HookBase
from detectron2.structures import Instances
from detectron2.utils import comm
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.hooks import RemovableHandle

from selfsam_d2.errors import NonFiniteLossError, OutputError
from selfsam_d2.weights.saving import save_tensors

__all__ = ["BATCH_FILE", "FiniteLossHook"]

BATCH_FILE = "non_finite_batch.pth"


class FiniteLossHook(HookBase):
    """Checks each loss before it reaches the weights, and the weights behind each step.

    Detectron2 notices a NaN behind the backward pass, by the sum of all losses. Here the losses are
    looked at as the model returns them, so the weights are still those of the step before, and the
    batch is kept: ``non_finite_batch.pth`` holds ``iteration``, ``losses`` (name -> value) and
    ``batch``, plain containers of tensors, for ``torch.load``. With several processes the first
    one's has this name, others add ``.rank1`` and so on.

    A finite loss may have a gradient that is not. It is looked for in the trained weights, since a
    step in half precision may leave such a gradient out. Belongs on all ranks, before all hooks
    that save the model.

    Args:
        folder: where the batch is written.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._handle: RemovableHandle | None = None
        self._trained: dict[str, nn.Parameter] = {}
        self._batch: list[dict[str, Any]] = []
        self._losses: dict[str, Tensor] = {}

    def before_train(self) -> None:
        model = self.trainer.model
        self._handle = model.register_forward_hook(self._check)
        inner = model.module if isinstance(model, DistributedDataParallel) else model
        self._trained = {
            name: weight
            for name, weight in inner.named_parameters()
            if weight.requires_grad and weight.numel()
        }

    def after_step(self) -> None:
        """Look at the weights.

        Raises:
            NonFiniteLossError: one is NaN or infinite.
        """
        bad = non_finite_weights(self._trained)
        if not bad:
            return
        images = ", ".join(each["file_name"] for each in self._batch)
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        others = ", those of the other processes beside it" if comm.get_world_size() > 1 else ""
        kept = self._keep(self._batch, self._losses, others)
        raise NonFiniteLossError(
            f"step {self.trainer.iter + 1}: weights became NaN or infinite ({bad[0]}{more}), "
            f"though each loss of {images} was finite; {kept}; look at "
            "that image and its points, or lower SOLVER.BASE_LR, and go on from the last "
            "checkpoint with --resume"
        )

    def after_train(self) -> None:
        self._remove()

    def _remove(self) -> None:
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def _check(self, model: nn.Module, arguments: tuple[Any, ...], losses: Any) -> None:
        if not model.training or not isinstance(losses, dict):
            return
        (batch,) = arguments
        bad = non_finite(losses)
        if not bad:
            self._batch = batch
            self._losses = {name: loss.detach() for name, loss in losses.items()}
            return
        self._remove()
        images = [each["file_name"] for each in self._culprits(model, batch)]
        kept = self._keep(batch, losses)
        terms = ", ".join(f"{name} is {losses[name].item()}" for name in bad)
        raise NonFiniteLossError(
            f"step {self.trainer.iter + 1}: {terms}, of {', '.join(images)}; {kept}; "
            "look at that image and its points, or lower SOLVER.BASE_LR, and go on from "
            "the last checkpoint with --resume"
        )

    @staticmethod
    def _culprits(model: nn.Module, batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Samples whose own losses are not finite; all, where none is so alone."""
        if len(batch) == 1:
            return batch
        with torch.no_grad():
            alone = [sample for sample in batch if non_finite(model([sample]))]
        return alone or batch

    def _keep(
        self, batch: list[dict[str, Any]], losses: dict[str, Tensor], others: str = ""
    ) -> str:
        """Where the batch lies, for the message; a full disk must not take the place of that."""
        path = self.folder / BATCH_FILE
        if not comm.is_main_process():  # which may have such a batch itself
            path = path.with_suffix(f".rank{comm.get_rank()}{path.suffix}")
        content = {
            "iteration": self.trainer.iter,
            "losses": {name: loss.item() for name, loss in losses.items()},
            "batch": [plain(sample) for sample in batch],
        }
        try:
            save_tensors(content, path)
        except OutputError as error:
            return f"the batch is not kept, {error}"
        return f"the batch lies in {path}{others}"


def non_finite(losses: dict[str, Tensor]) -> list[str]:
    """Names of the losses that are NaN or infinite.

    Args:
        losses: name -> scalar.
    """
    finite = torch.stack([loss.detach() for loss in losses.values()]).isfinite().tolist()
    return [name for name, is_finite in zip(losses, finite, strict=True) if not is_finite]


def non_finite_weights(weights: dict[str, nn.Parameter]) -> list[str]:
    """Names of the weights in which a value is NaN or infinite.

    Args:
        weights: name -> tensor that is not empty.
    """
    if not weights:
        return []
    # A NaN is the largest of all; sums of squares, as of other norms, may overflow.
    largest = torch._foreach_norm([weight.detach() for weight in weights.values()], torch.inf)
    if torch.stack(largest).isfinite().all():
        return []
    return [name for name, weight in weights.items() if not weight.isfinite().all()]


def plain(value: Any) -> Any:
    """Containers and tensors in place of Detectron2's structures, for ``weights_only`` loading."""
    if isinstance(value, Instances):
        size = {"image_size": list(value.image_size)}
        return {**size, **{name: plain(field) for name, field in value.get_fields().items()}}
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    tensor = getattr(value, "tensor", value)  # of Boxes and BitMasks
    return tensor if isinstance(tensor, Tensor | str | int | float | None) else str(value)
