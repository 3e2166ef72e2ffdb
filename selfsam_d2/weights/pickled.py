"""Weights of a ``.pkl`` of Detectron2's or Caffe2's model zoo, without unpickling it.

A pickle is a program that imports and calls what it names. Here :mod:`pickletools` reads it as a
list of instructions, of which those are followed that plain containers and NumPy arrays are made
of. Nothing is imported, and nothing but the stand-ins of this file is called.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfsam_d2.errors import InputError, shortened
from selfsam_d2.weights.pickle_stack import PickleStack, UnknownContentError

__all__ = ["read_pickled_weights"]

# NumPy's codes of what is stored: no objects and no structures, which may point anywhere.
ELEMENTS = frozenset({"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1"})
BYTE_ORDERS = frozenset({"<", ">", "=", "|"})
LATIN1 = frozenset({"latin1", "latin-1"})


class _Element:
    """Stands for ``numpy.dtype``."""

    def __init__(self, code: Any, *_: Any) -> None:
        if not isinstance(code, str) or code not in ELEMENTS:
            raise UnknownContentError("holds arrays of something else than numbers")
        self.dtype = np.dtype(code)

    def build(self, state: Any) -> None:
        """Take the byte order; the rest of the state is of structures."""
        order = state[1]
        if not isinstance(order, str) or order not in BYTE_ORDERS:
            raise UnknownContentError("holds arrays of an unknown byte order")
        self.dtype = self.dtype.newbyteorder(order)  # type: ignore[arg-type]


class _Latin1:
    """Stands for ``_codecs.encode``, by which Python 3 writes bytes for Python 2."""

    def __init__(self, text: str, encoding: str) -> None:
        if encoding not in LATIN1:
            raise UnknownContentError("holds bytes of an unknown encoding")
        self.text = text


class _Array:
    """Stands for ``numpy.ndarray``, and keeps what it is made of.

    Bytes of a pickle may be named many times, so that no array is made before it is known how much
    all of them take.
    """

    def __init__(self, *_: Any) -> None:
        self.parts: tuple[Any, ...] = ()

    def build(self, state: Any) -> None:
        """Take the state of an array: version, shape, dtype, order in memory, bytes."""
        _, shape, element, is_fortran, data = state
        self.parts = data, element, shape, "F" if is_fortran else "C"

    def __len__(self) -> int:
        """Number of bytes."""
        data = self.parts[0]
        return len(data.text if isinstance(data, _Latin1) else data)

    def tensor(self) -> Tensor:
        """The array, in the byte order of this machine."""
        data, element, shape, order = self.parts
        if isinstance(data, _Latin1):
            data = data.text
        if isinstance(data, str):  # so are bytes of Python 2
            data = data.encode("latin1")
        values = np.frombuffer(data, element.dtype).reshape(shape, order=order)
        return torch.from_numpy(np.array(values, values.dtype.newbyteorder("="), order="C"))


def _ordered_dict() -> dict[str, Any]:
    return {}


def _from_buffer(*parts: Any) -> _Array:
    array = _Array()
    array.parts = parts
    return array


# What a pickle of arrays names, by NumPy's old and new names, and what is called in its place.
STAND_INS: dict[str, Callable[..., Any]] = {
    "numpy.dtype": _Element,
    "numpy.ndarray": _Array,
    "numpy.core.multiarray._reconstruct": _Array,
    "numpy._core.multiarray._reconstruct": _Array,
    "numpy.core.numeric._frombuffer": _from_buffer,
    "numpy._core.numeric._frombuffer": _from_buffer,
    "_codecs.encode": _Latin1,
    "collections.OrderedDict": _ordered_dict,
}


def read_pickled_weights(path: Path) -> dict[str, Any]:
    """What a ``.pkl`` of weights holds, as a checkpoint for ``torch.save``.

    Args:
        path: a file of Detectron2's model zoo, or of Caffe2's (Detectron1's, or of a network for
            ImageNet), written by Python 2 or 3.

    Returns:
        ``model``: key → tensor; ``__author__``: who has written it; ``matching_heuristics``:
        whether its keys end as those of the model do and begin differently, as Detectron2 has it.

    Raises:
        InputError: the file is missing or damaged, or holds something else than arrays of numbers.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror or error})") from error
    try:
        return _checkpoint(_content(data), len(data))
    except UnknownContentError as error:
        raise InputError(
            path, f"{error}; give weights of Detectron2's or Caffe2's model zoo"
        ) from error
    except Exception as error:  # a damaged file can name anything in any order
        raise InputError(path, "is damaged or no pickle of weights; fetch it again") from error


def _content(data: bytes) -> dict[str, Any]:
    stack = PickleStack(STAND_INS)
    for instruction, argument, _ in pickletools.genops(data):
        stack.follow(instruction.name, argument)
    content = stack.items[-1]
    if not isinstance(content, dict):
        raise UnknownContentError("holds no dict")
    return content


def _checkpoint(content: dict[str, Any], size: int) -> dict[str, Any]:
    if "model" in content and "__author__" in content:
        state, author = content["model"], content["__author__"]
        if not isinstance(author, str):
            raise UnknownContentError("names no author")
        by_heuristics = content.get("matching_heuristics") is True
    else:  # as Detectron2 tells those of Caffe2, whose networks for ImageNet have no blobs
        state, author, by_heuristics = content.get("blobs", content), "Caffe2", True
        state = {key: value for key, value in state.items() if not key.endswith("_momentum")}
    for key, value in state.items():
        if not isinstance(value, _Array):
            raise UnknownContentError(f"has an entry {shortened(repr(key))} that is no array")
    if not state:
        raise UnknownContentError("holds no arrays")
    if sum(len(value) for value in state.values()) > size:
        raise UnknownContentError("holds arrays that share their bytes")
    model = {key: value.tensor() for key, value in state.items()}
    return {"model": model, "__author__": shortened(author), "matching_heuristics": by_heuristics}
