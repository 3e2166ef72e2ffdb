"""From a folder of images and a folder of label maps to one COCO JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from skimage import measure

from selfsam_d2.data.coco_json import coco_from_instance_maps, write_coco_json
from selfsam_d2.data.images import image_size
from selfsam_d2.errors import InputError
from selfsam_d2.structures.centre import nucleus_centres
from selfsam_d2.structures.label_maps import read_label_map

__all__ = ["PreparedDataset", "pair_by_stem", "prepare_coco_json"]


@dataclass
class PreparedDataset:
    """What was written: the COCO JSON, the folder its file names are relative to, and counts."""

    json_file: Path
    image_root: Path
    images: int = 0
    nuclei: int = 0
    points_outside: int = 0
    """Points that lie outside their own nucleus; the box rule can make some."""
    most_in_image: int = 0
    scattered: Path | None = None
    """A label map whose only id lies in several separate places, as in a foreground mask."""

    def summary(self) -> str:
        """One line with the counts."""
        return (
            f"{self.json_file}: {self.images} images, {self.nuclei} nuclei, "
            f"{self.points_outside} points outside their own nucleus"
        )

    def register_option(self, name: str) -> str:
        """The piece of a ``tools/train_net.py`` command that makes it the dataset ``name``."""
        return f"--register {name} {self.json_file} {self.image_root}"


def pair_by_stem(
    images: Mapping[str, Path], labels: Mapping[str, Path], what: str
) -> dict[str, tuple[Path, Path]]:
    """Pair the files of two folders.

    Args:
        images: stem -> image.
        labels: stem -> file that labels it.
        what: what the second files are, for messages, e.g. ``"label map"``.

    Returns:
        Stem -> (image, label).

    Raises:
        InputError: an image without label or a label without image.
    """
    for stem, path in images.items():
        if stem not in labels:
            raise InputError(path, f"no {what} of the same name; add it or take the image away")
    for stem, path in labels.items():
        if stem not in images:
            raise InputError(path, f"no image of the same name; add it or take the {what} away")
    return {stem: (path, labels[stem]) for stem, path in images.items()}


def prepare_coco_json(
    pairs: Mapping[str, tuple[Path, Path]],
    output: Path,
    image_root: Path,
    *,
    points_only: bool = False,
    centre: str = "centroid",
) -> PreparedDataset:
    """Write the COCO JSON of images with label maps.

    Args:
        pairs: stem -> (image below ``image_root``, label map).
        output: the JSON to write; its folder is made.
        image_root: file names in the JSON are relative to it.
        points_only: leave out the masks.
        centre: rule that makes the points.

    Raises:
        InputError: an image or label map cannot be used, the two differ in size, no label map
            holds a nucleus, or they are foreground masks.
    """
    prepared = PreparedDataset(output, image_root)
    coco = coco_from_instance_maps(
        _labelled_images(pairs, prepared, centre), points_only=points_only, centre=centre
    )
    if prepared.nuclei == 0:
        first_label = next(iter(pairs.values()))[1]
        raise InputError(first_label.parent, "no points: no label map here holds a nucleus")
    if prepared.most_in_image == 1 and prepared.scattered is not None:
        raise InputError(
            prepared.scattered,
            "has one id for separate objects, and no label map here has two ids: a foreground "
            "mask; give each nucleus an id of its own",
        )
    write_coco_json(output, coco)
    return prepared


def _labelled_images(
    pairs: Mapping[str, tuple[Path, Path]], prepared: PreparedDataset, centre: str
) -> Iterator[tuple[str, npt.NDArray[np.int64]]]:
    """File name and instance map one after the other, counted in ``prepared``."""
    for image, label in pairs.values():
        instance_map = read_label_map(label)
        height, width = image_size(image)
        if instance_map.shape != (height, width):
            raise InputError(
                label,
                f"is {instance_map.shape[1]} x {instance_map.shape[0]} pixels (width x height), "
                f"but its image {image.name} is {width} x {height}",
            )
        ids, points = nucleus_centres(instance_map, centre)
        columns, rows = np.floor(points).astype(np.int64).T
        prepared.images += 1
        prepared.nuclei += len(ids)
        prepared.most_in_image = max(prepared.most_in_image, len(ids))
        if len(ids) == 1 and measure.label(instance_map > 0, return_num=True)[1] > 1:
            prepared.scattered = label
        prepared.points_outside += int((instance_map[rows, columns] != ids).sum())
        yield image.relative_to(prepared.image_root).as_posix(), instance_map
