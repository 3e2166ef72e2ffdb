"""Checkpoints: weights by name, no unpickling, files written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from detectron2.checkpoint import DetectionCheckpointer

from selfsam_d2.files import writing
from selfsam_d2.modeling.name_matching import AUTHOR, BY_NAME
from selfsam_d2.modeling.trained_parts import BASE
from selfsam_d2.modeling.weights import load_checkpoint
from selfsam_d2.weights.resolve import read_checkpoint, resolve_weights
from selfsam_d2.weights.saving import save_tensors

__all__ = ["SelfSAMCheckpointer"]


class SelfSAMCheckpointer(DetectionCheckpointer):
    """DetectionCheckpointer that knows weights by name and never unpickles.

    ``MODEL.WEIGHTS`` may be a path, a URL or a name such as ``mobile_sam``. A SAM file fills the
    encoder, the prompt encoder and the mask decoder and starts the nuclei head; a file of another
    architecture is refused.
    """

    def load(self, path: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """As DetectionCheckpointer; an empty path loads nothing.

        Raises:
            InputError: the file is missing, damaged or of another architecture.
        """
        return super().load(str(resolve_weights(path)) if path else path, *args, **kwargs)

    def save(self, name: str, *, resumable: bool = True, **kwargs: Any) -> None:
        """Write ``name.pth`` beside the others, whole or not at all.

        Args:
            name: of the file, without ``.pth``.
            resumable: ``--resume`` goes on from this file, until the next one is saved.
            kwargs: saved beside the model and the trainer, e.g. ``iteration``.

        Raises:
            OutputError: it cannot be written, as on a full disk; the earlier ones are as they were.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        data = {"model": self.model.state_dict(), **kwargs}
        data.update({key: each.state_dict() for key, each in self.checkpointables.items()})
        path = os.path.join(self.save_dir, f"{name}.pth")
        self.logger.info("Saving checkpoint to %s", path)
        save_tensors(data, path, remedy="free some space and go on with --resume")
        if resumable:
            self.tag_last_checkpoint(os.path.basename(path))

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Point ``last_checkpoint`` at a file, atomically."""
        path = os.path.join(self.save_dir, "last_checkpoint")
        with writing(path) as draft:
            draft.write_text(last_filename_basename, encoding="utf-8")

    def _load_file(self, filename: str) -> dict[str, Any]:
        return {**read_checkpoint(Path(filename)), "source": filename}

    def _load_model(self, checkpoint: dict[str, Any]) -> None:
        parts = {key: checkpoint.pop(key) for key in ("model", BASE) if key in checkpoint}
        parts.update((key, checkpoint[key]) for key in (BY_NAME, AUTHOR) if key in checkpoint)
        load_checkpoint(self.model, parts, checkpoint.pop("source"))
