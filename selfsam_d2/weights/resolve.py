"""From what ``MODEL.WEIGHTS`` says to a checked state dict."""

from __future__ import annotations

import hashlib
import os
import urllib.parse
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from selfsam_d2.errors import InputError, shortened
from selfsam_d2.weights.cache import is_intact, locked
from selfsam_d2.weights.catalog import CATALOG, cache_folder
from selfsam_d2.weights.download import DownloadError, download
from selfsam_d2.weights.fetch import fetch

__all__ = [
    "URL_PREFIXES",
    "first_differences",
    "notes_of",
    "read_checkpoint",
    "read_state_dict",
    "resolve_weights",
]

URL_PREFIXES = ("http://", "https://")
# Keys under which training programs put the state dict inside a checkpoint.
WRAPPING_KEYS = ("model", "state_dict")
# How torch.load tells an archive from the format before PyTorch 1.6.
ARCHIVE_START = b"PK\x03\x04"
# What is copied into a model as it is: complex numbers would lose a part, and quantised ones and
# packed bits cannot be copied.
PLAIN_KINDS = frozenset(
    (
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
        *(torch.float8_e4m3fn, torch.float8_e5m2, torch.bool),
        *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    )
)


def resolve_weights(weights: str) -> Path:
    """Local file of weights given by name, address or path.

    Args:
        weights: a name of the catalog such as ``mobile_sam``, an ``http(s)`` address, whose file
            is kept in the cache folder, or a path.

    Returns:
        Path of an existing file.

    Raises:
        InputError: there is no such file, or it cannot be fetched.
    """
    if weights in CATALOG:
        return fetch(weights)
    if weights.startswith(URL_PREFIXES):
        return _fetch_url(weights)
    # Unlike those of pathlib, they answer for names that are too long or of no user.
    path = Path(os.path.expanduser(weights))
    if os.path.isdir(path):
        raise InputError(
            weights, f"is a folder, a file in it is needed, such as {_checkpoint_in(path)}"
        )
    if not os.path.isfile(path):
        raise InputError(
            weights,
            "no such file of weights (a training writes its model_final.pth at its end); give a "
            f"path, a URL or one of {', '.join(CATALOG)}",
        )
    return path


def _checkpoint_in(folder: Path) -> Path:
    """The last checkpoint of a training; or, where there is none, what it would be called."""
    usual = folder / "model_final.pth"
    others = sorted(folder.glob("*.pth"), key=lambda path: path.stat().st_mtime_ns)
    return usual if usual.exists() or not others else others[-1]


def _fetch_url(url: str) -> Path:
    name = Path(urllib.parse.unquote(urllib.parse.urlsplit(url).path)).name or "weights"
    key = hashlib.sha256(url.encode()).hexdigest()[:16]
    target = cache_folder() / "url" / key / name
    with locked(target):
        if is_intact(target):
            return target
        try:
            return download(url, target)
        except DownloadError as error:
            raise InputError(
                url, f"the weights cannot be had: {error}; download the file and give its path"
            ) from error


def _load(path: Path) -> Any:
    if path.suffix == ".pkl":
        raise InputError(
            path,
            "pickled weights can run any code and are not read; those of a model zoo are made safe "
            "by: python tools/convert_weights.py FILE.pkl --output FILE.pth",
        )
    try:
        _refuse_inflated(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror or error})") from error
    except Exception as error:  # a damaged file can make the unpickler raise anything
        raise InputError(
            path, "is damaged or holds more than tensors; give a checkpoint saved by torch.save"
        ) from error


def _refuse_inflated(path: Path) -> None:
    """Refuse an archive that takes more memory than it is long, which none of torch.save does."""
    with path.open("rb") as file:
        if file.read(len(ARCHIVE_START)) != ARCHIVE_START:
            return
        length = file.seek(0, os.SEEK_END)
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    # Entries that share their bytes are read once each, so that these fill the memory as well.
    if (
        any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
        or sum(entry.file_size for entry in entries) > length
    ):
        raise InputError(
            path,
            "is compressed, which torch.save never does, and may fill the memory; give the file "
            "as torch.save wrote it",
        )


def _oddity(value: Tensor) -> str:
    """What keeps a tensor from being copied into a model as it is; empty where nothing does."""
    if value.is_meta:
        return "holds no values"
    if value.layout != torch.strided or value.is_nested:
        return "is sparse or nested"
    return "" if value.dtype in PLAIN_KINDS else f"is of {value.dtype}"


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """State dict of a checkpoint; nothing but tensors and plain containers is unpickled.

    Args:
        path: a file written by ``torch.save``: the state dict itself, or a dict that has it under
            ``model`` or ``state_dict``.

    Returns:
        Key → tensor on the CPU.

    Raises:
        InputError: the file is missing, damaged, a pickle, compressed, or holds no state dict of
            dense real numbers.
    """
    return read_checkpoint(path)["model"]


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A whole checkpoint: the state dict under ``model``, and what else a training saved.

    Args:
        path: as for :func:`read_state_dict`.

    Raises:
        InputError: as :func:`read_state_dict`.
    """
    content = _load(path)
    rest: dict[str, Any] = {}
    for key in WRAPPING_KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            rest = {name: value for name, value in content.items() if name != key}
            content = content[key]
            break
    if not isinstance(content, Mapping) or not content:
        raise InputError(path, "holds no state dict; give a checkpoint saved by torch.save")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise InputError(
                path, f"the entry {shortened(repr(name))} of its state dict is not a tensor"
            )
        if oddity := _oddity(value):
            raise InputError(
                path,
                f"the tensor {shortened(repr(name))} of its state dict {oddity}; save the weights "
                "as dense real numbers",
            )
    return {**rest, "model": dict(content)}


def notes_of(checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a file of trained parts notes beside them; nothing where it does not, or has no names.

    Args:
        checkpoint: of :func:`read_checkpoint`; that of another program may hold anything.
    """
    notes = checkpoint.get("notes")
    return notes if isinstance(notes, Mapping) else {}


def first_differences(
    model_state: Mapping[str, Tensor], file_state: Mapping[str, Tensor], limit: int = 3
) -> list[str]:
    """The first keys in which a file does not fit a model, each with what is wrong.

    Args:
        model_state: state dict of the model; only keys and shapes are used.
        file_state: state dict of the file, keys as the model has them.
        limit: number of differences to give at most.

    Returns:
        At most ``limit`` texts, empty if the file fits: missing keys and other shapes in the
        model's order, then unexpected keys in the file's order.
    """
    differences = []
    for key, value in model_state.items():
        if key not in file_state:
            differences.append(f"{key} is missing")
        elif file_state[key].shape != value.shape:
            found, wanted = tuple(file_state[key].shape), tuple(value.shape)
            differences.append(f"{key} has shape {found}, expected {wanted}")
    differences += [f"{key} is not expected" for key in file_state if key not in model_state]
    return differences[:limit]
