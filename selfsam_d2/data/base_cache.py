"""m_base of every point of the training images on disk, carried through the augmentation.

m_base depends on no trained weight, so it is computed once, window by window, and each crop takes
the masks of its points from the windows that show most of what the crop shows.

Shape legend:
    N: points of an image, M: masks of an image (a point has one in each window that holds it),
    w: side of a window, K: points inside a crop, c: side of the crop
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np

from selfsam_d2.data.recently_read import RecentlyRead
from selfsam_d2.data.transforms import AffineCropTransform
from selfsam_d2.errors import InputError, UnreadableImageError, first_words
from selfsam_d2.files import ARRAY_ERRORS, kept_arrays, writing

__all__ = ["FORMAT", "BaseCache", "WindowMasks", "choose_windows", "pack_masks"]

# Smaller probabilities are not stored: together with half precision (relative error 5e-4) the only
# difference from masks that are computed in the step, for a crop that equals a window. Other crops
# warp probabilities, where the step resizes logits, of the image without its jitter.
SMALLEST = 1e-4
# px around a point that its window should show as far as the crop does: larger than most nuclei.
NEIGHBOURHOOD = 40.0
FORMAT = 2  # raised when what is stored changes, so that older files are made anew
CACHED_BYTES = 64 * 2**20  # of what says where the masks are, in each worker
FIELDS = ("window", "point", "corner", "box")  # in memory; the values stay on disk
# What a mask of a window is: window (y, x), indices of its points, (K, w, w) m_base.
WindowMasks = tuple[tuple[int, int], np.ndarray, np.ndarray]


def pack_masks(windows: Iterable[WindowMasks], size: tuple[int, int]) -> dict[str, np.ndarray]:
    """Masks of all windows of an image, each cut to where it is not negligible.

    Args:
        windows: corner (y, x) of a window in px of the image, indices of the points inside it,
            (K, w, w) m_base. A window may reach beyond the image.
        size: (height, width) of the image, px.

    Returns:
        ``window`` () int32 w; ``point`` (M,) int32; ``corner`` (M, 2) int32 xy of the window;
        ``box`` (M, 4) int32 left, top, width, height of the cut in the image;
        ``values`` float16, all cuts one after the other.
    """
    points, corners, boxes = [], [], []
    values = [np.zeros(0, dtype=np.float16)]
    side = 0
    for (y, x), indices, masks in windows:
        side = masks.shape[-1]
        top, left = max(-y, 0), max(-x, 0)
        shown = masks[:, top : size[0] - y, left : size[1] - x]
        for index, mask in zip(indices, shown, strict=True):
            kept = mask >= SMALLEST
            rows, columns = np.flatnonzero(kept.any(axis=1)), np.flatnonzero(kept.any(axis=0))
            first_row, last_row = (rows[0], rows[-1] + 1) if len(rows) else (0, 0)
            first, last = (columns[0], columns[-1] + 1) if len(columns) else (0, 0)
            points.append(index)
            corners.append((x, y))
            boxes.append(
                (x + left + first, y + top + first_row, last - first, last_row - first_row)
            )
            values.append(mask[first_row:last_row, first:last].astype(np.float16).ravel())
    return {
        "window": np.array(side, dtype=np.int32),
        "point": np.array(points, dtype=np.int32),
        "corner": np.array(corners, dtype=np.int32).reshape(-1, 2),
        "box": np.array(boxes, dtype=np.int32).reshape(-1, 4),
        "values": np.concatenate(values),
    }


def choose_windows(
    packed: dict[str, np.ndarray],
    points: np.ndarray,
    inside: np.ndarray,
    transform: AffineCropTransform,
) -> np.ndarray:
    """Which mask of each point a crop takes.

    That of the window which shows most of the point's neighbourhood as far as the crop shows it;
    among equals of the window whose centre is nearest to the crop's. So a crop that equals a
    window takes the masks of that window.

    Args:
        packed: of :func:`pack_masks`.
        points: (N, 2) xy, px of the image.
        inside: (K,) indices of the points inside the crop.
        transform: from the image to the crop.

    Returns:
        (K,) indices into the M masks; -1 for a point without one.
    """
    order = np.full(len(points), -1)
    order[inside] = np.arange(len(inside))
    candidates = np.flatnonzero(order[packed["point"]] >= 0)
    chosen = np.full(len(inside), -1)
    if not len(candidates):
        return chosen
    position = points[packed["point"][candidates]]
    start = packed["corner"][candidates].astype(float)
    side = float(packed["window"])
    crop_start, crop_end = _footprint(transform)
    low = np.maximum.reduce(
        [start, position - NEIGHBOURHOOD, np.broadcast_to(crop_start, start.shape)]
    )
    high = np.minimum.reduce(
        [start + side, position + NEIGHBOURHOOD, np.broadcast_to(crop_end, start.shape)]
    )
    shown = np.clip(high - low, 0, None).prod(axis=1)
    distance = np.linalg.norm(start + side / 2 - (crop_start + crop_end) / 2, axis=1)
    # From the worst to the best, so that the best is written last.
    for place in np.lexsort((-distance, shown)):
        chosen[order[packed["point"][candidates[place]]]] = candidates[place]
    return chosen


def _bytes_of(packed: dict[str, np.ndarray]) -> int:
    return sum(packed[name].nbytes for name in FIELDS)


def _footprint(transform: AffineCropTransform) -> tuple[np.ndarray, np.ndarray]:
    """Bounding box of a crop in its image: xy of the two corners."""
    height, width = transform.size
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], dtype=float)
    linear, offset = transform.matrix[:, :2], transform.matrix[:, 2]
    there = np.linalg.solve(linear, (corners - offset).T).T
    return there.min(axis=0), there.max(axis=0)


class BaseCache:
    """Two files for each training image, each written whole or not at all.

    The values lie in a ``.npy`` file that is mapped into memory, so that a crop reads only the
    masks of its own points; a ``.npz`` file says where they are and what they were made from. Its
    name holds the image and the key, so runs of other settings may share the folder; that of the
    values holds their checksum, so what belongs to another writing is never taken for them.

    Args:
        folder: where the files are kept.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        # File name of an image -> what its masks depend on; filled by the hook that makes them.
        self.keys: dict[str, str] = {}
        # File name of an image that could not be read -> what is wrong with it; by that hook too.
        self.left_out: dict[str, str] = {}
        self._read = RecentlyRead(self._load, _bytes_of, CACHED_BYTES)

    def holds(self, record: dict[str, Any]) -> bool:
        """Whether the masks of an image are there, made from what they would be made from now.

        They are read whole, since damage shows in their checksum.
        """
        path = str(self._path(record))
        try:
            packed = self._load(path, self.keys[record["file_name"]])
            return bool(zlib.crc32(_map_values(path, packed).data) == packed["checksum"])
        except InputError:
            return False

    def write(self, record: dict[str, Any], packed: dict[str, np.ndarray]) -> None:
        """Store the masks of an image: the values, then the file that makes them count."""
        path = self._path(record)
        values = packed["values"]
        index = {name: packed[name] for name in FIELDS}
        index["key"] = np.array(self.keys[record["file_name"]])
        index["checksum"] = np.array(zlib.crc32(values.data), dtype=np.int64)
        _write_whole(_values_path(path, index), lambda file: np.save(file, values))
        _write_whole(path, lambda file: np.savez_compressed(file, **index))  # type: ignore[arg-type]

    def crop_masks(
        self,
        record: dict[str, Any],
        points: np.ndarray,
        inside: np.ndarray,
        transform: AffineCropTransform,
    ) -> np.ndarray:
        """m_base of the points of one crop.

        Args:
            record: dataset dict.
            points: (N, 2) xy, px of the image.
            inside: (K,) indices of the points inside the crop.
            transform: from the image to the crop.

        Returns:
            (K, c, c) float32 in [0, 1]; 0 beyond the window that a mask was made in.

        Raises:
            InputError: the stored masks are missing, damaged or made from something else.
            UnreadableImageError: the image could not be read when its masks were to be made.
        """
        if problem := self.left_out.get(record["file_name"]):
            raise UnreadableImageError(f"{problem}; so it has no stored base masks")
        path = str(self._path(record))
        packed = self._read(path, self.keys[record["file_name"]])
        # Mapped for this crop only: each map that is kept takes a file descriptor.
        values, ends = _map_values(path, packed), _ends(packed)
        masks = np.zeros((len(inside), *transform.size), dtype=np.float32)
        for place, chosen in enumerate(choose_windows(packed, points, inside, transform)):
            if chosen < 0:
                continue
            left, top, width, height = packed["box"][chosen]
            if width:
                cut = values[ends[chosen] : ends[chosen + 1]].reshape(height, width)
                masks[place] = transform.apply_cut(cut.astype(np.float32), (left, top))
        return masks

    @staticmethod
    def _load(path: str, key: str) -> dict[str, np.ndarray]:
        try:
            with np.load(path, allow_pickle=False) as stored:
                if str(stored["key"]) != key:
                    raise InputError(path, "made from other weights, points or settings; delete it")
                return kept_arrays(stored, (*FIELDS, "checksum"))
        except ARRAY_ERRORS as error:
            raise _unreadable(path, error) from error

    def _path(self, record: dict[str, Any]) -> Path:
        # Two images of different folders may share a file name.
        name = str(record["file_name"])
        digest = hashlib.sha256(f"{name} {self.keys[name]}".encode()).hexdigest()[:16]
        return self.folder / f"{Path(name).stem}.{digest}.npz"


def _values_path(path: Path, index: dict[str, np.ndarray]) -> Path:
    return path.with_suffix(f".{int(index['checksum']):08x}.npy")


def _map_values(path: str, index: dict[str, np.ndarray]) -> np.ndarray:
    try:
        values = np.load(_values_path(Path(path), index), mmap_mode="r", allow_pickle=False)
        if values.dtype != np.float16 or values.shape != (_ends(index)[-1],):
            raise ValueError("its values are not those that it was written with")
    except ARRAY_ERRORS as error:
        raise _unreadable(path, error) from error
    return np.asarray(values)


def _unreadable(path: str, error: Exception) -> InputError:
    return InputError(path, f"stored masks cannot be read ({first_words(error)}); delete it")


def _ends(packed: dict[str, np.ndarray]) -> np.ndarray:
    """(M + 1,) where the values of each mask begin, and the end of the last."""
    return np.concatenate([[0], np.cumsum(packed["box"][:, 2:].prod(axis=1, dtype=np.int64))])


def _write_whole(path: Path, write: Callable[[IO[bytes]], None]) -> None:
    """Write a file so that a reader never sees half of it."""
    remedy = "choose another BASE_STORE"
    with writing(path, shared=True, remedy=remedy) as draft, draft.open("wb") as file:
        write(file)
