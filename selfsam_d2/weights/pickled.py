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
CELL_ANCHORS = "anchor_generator.cell_anchors"
MOST_INSTRUCTIONS = 1_000_000  # some 40 an array; each may take a hundred bytes
MOST_AXES = 64  # of NumPy
LATIN1 = frozenset({"latin1", "latin-1"})


class _Element:
    """Stands for ``numpy.dtype``; the two last arguments are those that pickles give it."""

    def __init__(self, code: object, _align: object = None, _copy: object = None) -> None:
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

    def __init__(self, text: str, encoding: object) -> None:
        if not isinstance(encoding, str) or encoding not in LATIN1:
            raise UnknownContentError("holds bytes of an unknown encoding")
        self.text = text


class _Array:
    """Stands for ``numpy.ndarray``, and keeps what it is made of.

    Bytes of a pickle may be named many times, so that no array is made before it is known how much
    all of them take.
    """

    def __init__(self, _kind: object = None, _shape: object = None, _code: object = None) -> None:
        self.data: Any = None
        self.element: Any = None
        self.shape: tuple[int, ...] = ()
        self.axes: tuple[int, ...] | None = None
        self.order: Any = "C"

    def build(self, state: Any) -> None:
        """Take the state of an array: version, shape, dtype, order in memory, bytes."""
        _, shape, element, is_fortran, data = state
        self.fill(data, element, shape, "F" if is_fortran else "C")

    def fill(
        self, data: object, element: object, shape: object, order: object, axes: object = None
    ) -> None:
        """Take the parts; ``axes`` are those of an array that is written in another order."""
        if not isinstance(element, _Element):
            raise UnknownContentError("holds arrays of an unknown kind")
        self.data = data.text if isinstance(data, _Latin1) else data
        self.element = element
        self.shape = _numbers(shape)
        self.axes = None if axes is None else _numbers(axes)
        self.order = "F" if order == "F" else "C"

    def __len__(self) -> int:
        """Number of bytes."""
        return len(self.data)

    def tensor(self) -> Tensor:
        """The array, in the byte order of this machine."""
        # So are bytes of Python 2.
        data = self.data.encode("latin1") if isinstance(self.data, str) else self.data
        values = np.frombuffer(data, self.element.dtype).reshape(self.shape, order=self.order)
        if self.axes is not None:
            values = values.transpose(self.axes)
        return torch.from_numpy(np.array(values, values.dtype.newbyteorder("="), order="C"))


def _numbers(value: object) -> tuple[int, ...]:
    # NumPy quotes what is no shape, and tuples that hold each other have a text without end.
    if (
        not isinstance(value, tuple)
        or len(value) > MOST_AXES
        or not all(type(each) is int and each >= 0 for each in value)
    ):
        raise UnknownContentError("holds arrays of an unknown shape")
    return value


class _OrderedDict(dict[str, Any]):
    """Stands for ``collections.OrderedDict``, which begins empty."""

    def __init__(self) -> None:
        super().__init__()

    def build(self, state: object) -> None:
        """Leave out its attributes, such as the versions that PyTorch keeps of modules."""


def _from_buffer(
    data: object, element: object, shape: object, order: object, axes: object = None
) -> _Array:
    array = _Array()
    array.fill(data, element, shape, order, axes)
    return array


def _no_bytes() -> bytes:
    return b""


# What a pickle of arrays names, by NumPy's old and new names, and what is called in its place.
STAND_INS: dict[str, Callable[..., Any]] = {
    "numpy.dtype": _Element,
    "numpy.ndarray": _Array,
    "numpy.core.multiarray._reconstruct": _Array,
    "numpy._core.multiarray._reconstruct": _Array,
    "numpy.core.numeric._frombuffer": _from_buffer,
    "numpy._core.numeric._frombuffer": _from_buffer,
    "_codecs.encode": _Latin1,
    "__builtin__.bytes": _no_bytes,
    "collections.OrderedDict": _OrderedDict,
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
    for number, (instruction, argument, _) in enumerate(pickletools.genops(data)):
        if number == MOST_INSTRUCTIONS:
            raise UnknownContentError(f"has more than {MOST_INSTRUCTIONS} instructions")
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
        by_heuristics = content.get("matching_heuristics") in (True, 1)
    else:  # as Detectron2 tells those of Caffe2, whose networks for ImageNet have no blobs
        state, author, by_heuristics = content.get("blobs", content), "Caffe2", True
        state = {key: value for key, value in state.items() if not key.endswith("_momentum")}
    # Which Detectron2 does not look for either: older models kept what newer ones compute.
    state = {key: value for key, value in state.items() if CELL_ANCHORS not in key}
    for key, value in state.items():
        if not isinstance(value, _Array):
            raise UnknownContentError(f"has an entry {shortened(repr(key))} that is no array")
    if not state:
        raise UnknownContentError("holds no arrays")
    arrays = {id(value): value for value in state.values()}
    if sum(len(value) for value in arrays.values()) > size:
        raise UnknownContentError("holds arrays that share their bytes")
    tensors = {name: value.tensor() for name, value in arrays.items()}
    model = {key: tensors[id(value)] for key, value in state.items()}
    return {"model": model, "__author__": shortened(author), "matching_heuristics": by_heuristics}
