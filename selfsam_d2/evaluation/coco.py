"""COCO average precision for images with thousands of nuclei."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pycocotools.mask as coco_mask
from detectron2.evaluation import COCOEvaluator
from detectron2.structures import Instances
from faster_coco_eval import COCO, COCOeval_faster

from selfsam_d2.errors import InputError
from selfsam_d2.evaluation.summary import write_json
from selfsam_d2.structures.annotation_masks import annotation_to_rle
from selfsam_d2.structures.rle_masks import RLEMasks

__all__ = ["MAX_DETECTIONS", "NucleiCOCOEvaluator"]

MAX_DETECTIONS = 3000
"""Detections per image; COCO counts 100, MoNuSeg images hold up to 1,862 nuclei."""


class NucleiCOCOEvaluator(COCOEvaluator):
    """AP of detectron2's ``COCOEvaluator`` with thousands of detections in an image.

    ``pred_masks`` in the form of :class:`RLEMasks` go to the COCO code as they are; dense ones are
    encoded by detectron2. Every category of the file counts as nucleus, as in training, and an
    annotation that has no area or box is given it. AP values are 0 to 100.

    The precision is that of COCO's own code; faster-coco-eval computes it, because that takes
    far longer with thousands of nuclei, and because detectron2's C++ form stops at 100.

    Args:
        dataset_name: a name in ``MetadataCatalog``, with ``json_file`` (of any ``evaluator_type``).
        output_dir: where the predictions are written; nowhere if None.
        distributed: whether to gather the images of all ranks on the main process.
        max_detections: that count per image, those of the highest score.
        tasks: ``segm`` for the AP of masks, ``bbox`` for that of boxes.

    Raises:
        InputError: if an annotation has no usable mask.
    """

    def __init__(
        self,
        dataset_name: str,
        output_dir: str | Path | None = None,
        distributed: bool = True,
        max_detections: int = MAX_DETECTIONS,
        tasks: Sequence[str] = ("segm",),
    ) -> None:
        super().__init__(
            dataset_name,
            tasks=tuple(tasks),
            distributed=distributed,
            output_dir=None if output_dir is None else str(output_dir),
            max_dets_per_image=max_detections,
            use_fast_impl=False,
        )
        mapping = self._metadata.get("thing_dataset_id_to_contiguous_id", {0: 0})
        nucleus = next(category for category, index in mapping.items() if index == 0)
        self._nucleus = nucleus
        content = self._coco_api.dataset
        content["categories"] = [{"id": nucleus, "name": "nucleus"}]
        for number, annotation in enumerate(content.get("annotations", []), start=1):
            image = self._coco_api.imgs[annotation["image_id"]]
            _complete(annotation, image, dataset_name)
            # COCO's code takes the id 0 for "no match".
            annotation.update(id=number, category_id=nucleus)
        with contextlib.redirect_stdout(io.StringIO()):
            self._coco_api.createIndex()

    def process(
        self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]
    ) -> None:
        """Take in a batch of images.

        Args:
            inputs: each with ``image_id``.
            outputs: each with ``instances``: ``scores``, ``pred_classes`` and, as the tasks need
                them, ``pred_masks`` and ``pred_boxes``.
        """
        for entry, output in zip(inputs, outputs, strict=True):
            if isinstance(output["instances"].get_fields().get("pred_masks"), RLEMasks):
                results = rle_instances_to_coco_json(output["instances"], entry["image_id"])
                self._predictions.append({"image_id": entry["image_id"], "instances": results})
            else:
                super().process([entry], [output])

    def _eval_predictions(
        self, predictions: list[dict[str, Any]], img_ids: list[int] | None = None
    ) -> None:
        """Fill ``_results``, as detectron2's method of this name does, which this one overrides."""
        results = [each for image in predictions for each in image["instances"]]
        for result in results:
            result["category_id"] = self._nucleus
        if self._output_dir:
            write_json(Path(self._output_dir) / "coco_instances_results.json", results)
        for task in self._tasks:
            coco_eval = self._match(results, task, img_ids) if results else None
            self._results[task] = self._derive_coco_results(coco_eval, task)

    def _match(
        self, results: list[dict[str, Any]], task: str, img_ids: list[int] | None
    ) -> COCOeval_faster:
        # Otherwise the area of a mask would be that of its box, and the other way round.
        unused = "bbox" if task == "segm" else "segmentation"
        chosen = [{key: each[key] for key in each if key != unused} for each in results]
        truth = COCO(self._coco_api.dataset)
        coco_eval = COCOeval_faster(truth, truth.loadRes(chosen), task)
        coco_eval.params.maxDets = self._max_dets_per_image
        if img_ids is not None:
            coco_eval.params.imgIds = img_ids
        coco_eval.run()
        return coco_eval


def rle_instances_to_coco_json(instances: Instances, image_id: int) -> list[dict[str, Any]]:
    """Write predictions in the results format of COCO without decoding a mask.

    The boxes are those of the masks.

    Args:
        instances: N predictions with ``scores``, ``pred_classes`` and ``pred_masks``, the latter an
            :class:`RLEMasks`.
        image_id: the id of the image in the dataset.

    Returns:
        N dicts with image_id, category_id (the predicted class), score, segmentation and bbox.
    """
    rles = instances.pred_masks.rles
    boxes = coco_mask.toBbox(rles).tolist() if rles else []
    scores, classes = instances.scores.tolist(), instances.pred_classes.tolist()
    return [
        {
            "image_id": image_id,
            "category_id": category,
            "score": score,
            "segmentation": rle,
            "bbox": box,
        }
        for category, score, rle, box in zip(classes, scores, rles, boxes, strict=True)
    ]


def _complete(annotation: dict[str, Any], image: Mapping[str, Any], dataset_name: str) -> None:
    """Add what COCO's code reads and a hand-made file may lack: area, box, crowd mark."""
    if not annotation.get("segmentation"):
        raise InputError(
            dataset_name,
            f"annotation {annotation['id']} of {image['file_name']} has no mask; evaluation needs "
            "masks, points are enough for training only",
        )
    annotation.setdefault("iscrowd", 0)
    if "area" in annotation and annotation.get("bbox"):
        return
    try:
        rle = annotation_to_rle(annotation["segmentation"], image["height"], image["width"])
    except ValueError as error:
        raise InputError(
            dataset_name,
            f"the mask of annotation {annotation['id']} of {image['file_name']} cannot be used: "
            f"{error}",
        ) from error
    annotation.setdefault("area", float(coco_mask.area(rle)))
    if not annotation.get("bbox"):
        annotation["bbox"] = coco_mask.toBbox(rle).tolist()
