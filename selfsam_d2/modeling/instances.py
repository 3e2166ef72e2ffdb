from __future__ import annotations
import numpy as np
import torch
from detectron2.structures import Boxes, Instances
from selfsam_d2.structures.rle_masks import RLEMasks


def instances_from_map(instance_map, foreground):
    n = int(instance_map.max())
    inst = Instances(instance_map.shape)
    rles = RLEMasks.from_instance_map(instance_map)
    c = np.bincount(instance_map.ravel(), minlength=n + 1)[1:]
    s = np.bincount(instance_map.ravel(), foreground.ravel(), minlength=n + 1)[1:]
    inst.pred_masks = rles
    inst.pred_boxes = Boxes(torch.as_tensor(rles.bounding_boxes()).float()) if not isinstance(rles.bounding_boxes(), Boxes) else rles.bounding_boxes()
    inst.scores = torch.from_numpy((s / np.maximum(c, 1)).astype(np.float32))
    inst.pred_classes = torch.zeros(n, dtype=torch.long)
    return inst
