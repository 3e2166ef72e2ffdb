"""The hook that computes m_base of all training images once, before the first step."""

from __future__ import annotations

import hashlib
import logging
import time
from pathlib import Path
from typing import Any

import torch
from detectron2.engine import HookBase
from detectron2.utils import comm

from selfsam_d2.data.base_cache import FORMAT, BaseCache, pack_masks
from selfsam_d2.data.mapper import PointPromptDatasetMapper
from selfsam_d2.data.unreadable_images import UnreadableImages
from selfsam_d2.engine.self_refine_hook import unwrap
from selfsam_d2.modeling.base_masks import base_fingerprint, predict_base_masks

__all__ = ["BaseCacheHook"]

logger = logging.getLogger(__name__)


class BaseCacheHook(HookBase):
    """Fills the base cache of a training; what is there and still valid is kept.

    An image that cannot be read is left out, and no crop of it is trained on: DATALOADER.MAX_BAD.
    Images are shared out to the ranks. Belongs on all ranks; the data workers start after it.

    Args:
        records: dataset dicts of the training images.
        mapper: reads the cache and knows the shifted points of an image.
        cache: where the masks go.
        unreadable: counts the images that are left out.
        window: side of a window, px.
        overlap: px shared by neighbouring windows.
    """

    def __init__(
        self,
        records: list[dict[str, Any]],
        *,
        mapper: PointPromptDatasetMapper,
        cache: BaseCache,
        unreadable: UnreadableImages,
        window: int,
        overlap: int,
    ) -> None:
        self.records = records
        self.mapper = mapper
        self.cache = cache
        self.unreadable = unreadable
        self.window = window
        self.overlap = overlap

    def before_train(self) -> None:
        model = unwrap(self.trainer.model)
        problems = self._make_keys(
            f"{FORMAT} {base_fingerprint(model)} {self.window} {self.overlap}"
        )
        missing = self._share()
        was_training = model.training
        model.eval()
        started = time.perf_counter()
        readable = self.unreadable.read(missing, problems)
        for done, (record, image) in enumerate(readable, start=1):
            windows = predict_base_masks(
                model,
                torch.from_numpy(image.transpose(2, 0, 1).copy()),
                torch.from_numpy(self.mapper.points(record)),
                image_id=record["image_id"],
                window=self.window,
                overlap=self.overlap,
            )
            self.cache.write(record, pack_masks(windows, (record["height"], record["width"])))
            seconds = time.perf_counter() - started
            logger.info(
                "base masks: image %d of %d, %.0f s left",
                done,
                len(missing),
                seconds / done * (len(missing) - done),
            )
        model.train(was_training)
        self.cache.left_out = self.unreadable.gather(problems)
        count = len(self.records) - len(self.cache.left_out)
        logger.info("base masks of %d images in %s", count, self.cache.folder)

    def _make_keys(self, common: str) -> dict[str, str]:
        """Keys of all images, each made by one rank: a file may change meanwhile.

        Returns:
            file name of each image of this rank that is gone -> what is wrong with it.
        """
        own, problems = {}, {}
        for record in self.records[comm.get_rank() :: comm.get_world_size()]:
            name = record["file_name"]
            try:
                own[name] = self._key(record, common)
            except OSError as error:
                problems[name] = f"{name}: cannot be read ({error.strerror})"
        self.unreadable.leave_out(problems)
        for keys in comm.all_gather(own):
            self.cache.keys.update(keys)
        return problems

    def _share(self) -> list[dict[str, Any]]:
        """What is missing of all images, shared out anew: a run may go on with more processes."""
        rank, ranks = comm.get_rank(), comm.get_world_size()
        looked_at = range(rank, len(self.records), ranks)
        own = [number for number in looked_at if self._lacks(self.records[number])]
        missing = sorted(number for each in comm.all_gather(own) for number in each)
        return [self.records[number] for number in missing[rank::ranks]]

    def _lacks(self, record: dict[str, Any]) -> bool:
        return record["file_name"] in self.cache.keys and not self.cache.holds(record)

    def _key(self, record: dict[str, Any], common: str) -> str:
        digest = hashlib.sha256(common.encode())
        digest.update(str(record["image_id"]).encode())
        digest.update(self.mapper.points(record).tobytes())
        digest.update(Path(record["file_name"]).read_bytes())
        return digest.hexdigest()
