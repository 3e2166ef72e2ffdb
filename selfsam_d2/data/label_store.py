"""Labels of whole training images on disk: written by one process, read by the data workers."""

from __future__ import annotations

import hashlib
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np

from selfsam_d2.errors import InputError, first_words
from selfsam_d2.files import ARRAY_ERRORS, kept_arrays, writing

__all__ = ["LABEL_NAMES", "LabelStore"]

LABEL_NAMES = ("prompt_label", "instance_label")
COMPLETE = "complete"
POLL_SECONDS = 0.2


class LabelStore:
    """One folder of labels per refresh, each written whole or not at all.

    A refresh is named by the epoch that it serves. Readers ask for the labels of an epoch and
    wait for its refresh, so that what a step sees does not depend on how far ahead the data
    workers are.

    Args:
        folder: where the refreshes are kept.
        timeout: seconds that a reader waits for a refresh.
    """

    def __init__(self, folder: str | Path, timeout: float = 3600.0) -> None:
        self.folder = Path(folder)
        self.timeout = timeout

    def write(self, record: dict[str, Any], epoch: int, labels: dict[str, np.ndarray]) -> None:
        """Store the labels of one image, atomically.

        Args:
            record: dataset dict with ``file_name``.
            epoch: that the refresh serves.
            labels: for each of :data:`LABEL_NAMES` (H, W) int: 0, point index + 1, or -1.
        """
        path = self._path(record, epoch)
        with writing(path, shared=True) as draft, draft.open("wb") as file:
            np.savez_compressed(
                file,
                prompt_label=labels["prompt_label"],
                instance_label=labels["instance_label"],
            )

    def finish(self, epoch: int) -> None:
        """Mark the refresh of an epoch as complete."""
        self._epoch_folder(epoch).mkdir(parents=True, exist_ok=True)
        (self._epoch_folder(epoch) / COMPLETE).touch()

    def is_complete(self, epoch: int) -> bool:
        """Whether the refresh of an epoch can be read."""
        return (self._epoch_folder(epoch) / COMPLETE).exists()

    def discard(self, *, below: int = 0, above: int | None = None) -> None:
        """Remove the refreshes of epochs < ``below`` and > ``above``."""
        for folder in self.folder.glob("epoch_*"):
            epoch = int(folder.name.removeprefix("epoch_"))
            if epoch < below or (above is not None and epoch > above):
                shutil.rmtree(folder)

    def read(self, record: dict[str, Any]) -> dict[str, np.ndarray]:
        """Labels of an image for the epoch ``record["epoch"]``.

        Returns:
            for each of :data:`LABEL_NAMES` (H, W) int32.

        Raises:
            InputError: the refresh did not appear in time, or a file is damaged.
        """
        epoch = record["epoch"]
        deadline = time.monotonic() + self.timeout
        while not self.is_complete(epoch):
            if time.monotonic() > deadline:
                raise InputError(self._epoch_folder(epoch), "the label refresh never appeared")
            time.sleep(POLL_SECONDS)
        path = self._path(record, epoch)
        try:
            with np.load(path, allow_pickle=False) as stored:
                return kept_arrays(stored, LABEL_NAMES)
        except ARRAY_ERRORS as error:
            raise InputError(
                path, f"stored labels cannot be read ({first_words(error)})"
            ) from error

    def _epoch_folder(self, epoch: int) -> Path:
        return self.folder / f"epoch_{epoch:05d}"

    def _path(self, record: dict[str, Any], epoch: int) -> Path:
        # Two images of different folders may share a file name.
        digest = hashlib.sha256(str(record["file_name"]).encode()).hexdigest()[:12]
        stem = Path(record["file_name"]).stem
        return self._epoch_folder(epoch) / f"{stem}.{digest}.npz"
