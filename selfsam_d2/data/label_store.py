"""Labels of whole training images on disk: written by one process, read by the data workers."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from selfsam_d2.errors import InputError, UnreadableImageError, first_words
from selfsam_d2.files import ARRAY_ERRORS, kept_arrays, parse_json, writing

__all__ = ["LABEL_NAMES", "LabelStore"]

LABEL_NAMES = ("prompt_label", "instance_label")
COMPLETE = "complete"
POLL_SECONDS = 0.2
NETWORK_SECONDS = 60.0  # that a network drive may take to show what another machine has written


class LabelStore:
    """One folder of labels per refresh, each written whole or not at all.

    A refresh is named by the epoch that it serves. Readers ask for the labels of an epoch and
    wait for its refresh, so that what a step sees does not depend on how far ahead the data
    workers are. These wait as long as the process lives that made the store, the trainer: how long
    its steps, evaluations and refreshes take is not theirs to know. The trainer reads after the
    refresh, and waits for a slow drive only.

    Args:
        folder: where the refreshes are kept.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._trainer = os.getpid()

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

    def finish(self, epoch: int, left_out: Mapping[str, str] | None = None) -> None:
        """Mark the refresh of an epoch as complete.

        Args:
            epoch: that the refresh serves.
            left_out: file name of each image that could not be read -> what is wrong with it.
        """
        with writing(self._epoch_folder(epoch) / COMPLETE) as draft:
            draft.write_text(json.dumps(dict(left_out or {})), encoding="utf-8")

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
            InputError: the refresh cannot appear any more, or a file is damaged.
            UnreadableImageError: the image could not be read when its labels were to be made.
        """
        epoch = record["epoch"]
        deadline = time.monotonic() + NETWORK_SECONDS
        while not self.is_complete(epoch):
            if os.getpid() == self._trainer:
                given_up = time.monotonic() > deadline
            else:
                given_up = os.getppid() != self._trainer
            if given_up:
                raise InputError(self._epoch_folder(epoch), "the label refresh never appeared")
            time.sleep(POLL_SECONDS)
        path = self._path(record, epoch)
        if not path.exists() and (problem := self._left_out(epoch).get(record["file_name"])):
            raise UnreadableImageError(f"{problem}; so it has no labels of epoch {epoch}")
        try:
            with np.load(path, allow_pickle=False) as stored:
                return kept_arrays(stored, LABEL_NAMES)
        except ARRAY_ERRORS as error:
            raise InputError(
                path, f"stored labels cannot be read ({first_words(error)})"
            ) from error

    def _left_out(self, epoch: int) -> dict[str, str]:
        path = self._epoch_folder(epoch) / COMPLETE
        try:
            text = path.read_text(encoding="utf-8")
            return dict(parse_json(text)) if text else {}  # empty: of an earlier version
        except (OSError, TypeError, ValueError) as error:
            raise InputError(path, f"cannot be read ({error}); delete it") from error

    def _epoch_folder(self, epoch: int) -> Path:
        return self.folder / f"epoch_{epoch:05d}"

    def _path(self, record: dict[str, Any], epoch: int) -> Path:
        # Two images of different folders may share a file name.
        digest = hashlib.sha256(str(record["file_name"]).encode()).hexdigest()[:12]
        stem = Path(record["file_name"]).stem
        return self._epoch_folder(epoch) / f"{stem}.{digest}.npz"
