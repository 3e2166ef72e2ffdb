"""The instance map in a MATLAB file, the form in which CPM17 and CoNSeP are published.

``scipy.io.loadmat`` is not used: it takes types in the file as indices without a check, and one
damaged byte can end the process (seen with SciPy 1.17). What is read here is one array of numbers.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from selfsam_d2.errors import InputError
from selfsam_d2.structures.image_files import MEBIBYTE, require_file, require_pixels

__all__ = ["INSTANCE_MAP", "read_instance_map"]

INSTANCE_MAP = "inst_map"
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_MATLAB_73_HEADER_BYTES = 512  # before the HDF5 file
_HEADER_BYTES = 128
# The last four bytes of the header: version 1 and the order of bytes.
_BYTE_ORDERS = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}
_TAG_BYTES = 8
_MATRIX, _COMPRESSED = 14, 15
_HEAD_PARTS = 3  # of a variable: flags, shape, name; an empty cell array has no more
_HEAD_BYTES = 1024  # that hold them, with the tags: a name has up to 63 letters
_MOST_VALUE_BYTES = 8
_MOST_BYTES = 2048 * MEBIBYTE  # of a file, as MATLAB has it for a variable of these versions
# Type of an element in the file -> NumPy's name for it.
_NUMBERS = dict(enumerate(("i1", "u1", "i2", "u2", "i4", "u4", "f4"), start=1))
_NUMBERS |= {9: "f8", 12: "i8", 13: "u8"}
_NUMERIC_CLASSES = range(6, 16)  # double, single, integers; below: cell, struct, char, sparse
_COMPLEX_FLAG = 0x800
_NOT_REAL = f"its {INSTANCE_MAP} is not an array of real numbers"
Part = tuple[int, memoryview]  # type, data
Whole = Callable[[int], list[Part]]


def read_instance_map(path: Path) -> npt.NDArray[np.generic]:
    """The variable ``inst_map`` of a ``.mat`` file of version 5 to 7.2.

    Args:
        path: as MATLAB or ``scipy.io.savemat`` writes it, compressed or not.

    Returns:
        The array in the type in which it is stored, of any shape.

    Raises:
        InputError: the file is of another version, has no ``inst_map``, or that is not an array
            of real numbers or has more than 178 million.
        ValueError: the file is damaged.
        zlib.error: likewise.
        struct.error: likewise.
    """
    require_file(path, _MOST_BYTES)
    content = memoryview(path.read_bytes())
    start = bytes(content[: _MATLAB_73_HEADER_BYTES + len(_HDF5_SIGNATURE)])
    hdf5 = start.find(_HDF5_SIGNATURE)
    if hdf5 in (0, _MATLAB_73_HEADER_BYTES):
        raise InputError(
            path, "is a MATLAB 7.3 (HDF5) file, which is not read; save it with save -v7 in MATLAB"
        )
    order = _BYTE_ORDERS.get(start[_HEADER_BYTES - 4 : _HEADER_BYTES])
    if order is None:
        raise InputError(
            path, "is damaged or no MATLAB file of version 5 to 7.2; get or save it again"
        )
    for head, whole in _variables(content[_HEADER_BYTES:], order):
        flags, shape, name = (data for _, data in head)
        if name == INSTANCE_MAP.encode():
            sides = _sides(path, order, flags, shape)
            return _array(path, order, sides, whole(math.prod(sides)))
    raise InputError(
        path, f"has no variable {INSTANCE_MAP}, which holds the id of each pixel's nucleus"
    )


def _variables(content: memoryview, order: str) -> Iterator[tuple[list[Part], Whole]]:
    """Flags, shape and name of each variable, and what reads all its parts.

    That takes the number of values of the shape, so that no more is unpacked than they need.
    """
    for kind, element in _elements(content, order):
        if kind == _COMPRESSED:
            head = memoryview(zlib.decompressobj().decompress(element, _HEAD_BYTES))
            whole = partial(_unpacked, element, order)
            (inner,) = struct.unpack_from(f"{order}I", head)
            parts = head[_TAG_BYTES:]
        else:
            whole, inner, parts = partial(_parts, element, order), kind, element
        found = list(islice(_elements(parts, order), _HEAD_PARTS)) if inner == _MATRIX else []
        if len(found) < _HEAD_PARTS:
            raise ValueError("an element that is no variable")
        yield found, whole


def _parts(element: memoryview, order: str, values: int) -> list[Part]:
    del values  # the element lies in the file as it is
    return list(_elements(element, order))


def _unpacked(element: memoryview, order: str, values: int) -> list[Part]:
    unpacking = zlib.decompressobj()
    content = unpacking.decompress(element, _HEAD_BYTES + _MOST_VALUE_BYTES * values)
    if not unpacking.eof:
        raise ValueError("ends early, or holds more than its shape")
    ((_, matrix),) = _elements(memoryview(content), order)
    return list(_elements(matrix, order))


def _elements(content: memoryview, order: str) -> Iterator[Part]:
    """(type, data) of the elements that stand one behind the other."""
    start = 0
    while start < len(content):
        kind, size = struct.unpack_from(f"{order}II", content, start)
        data = start + _TAG_BYTES
        if kind >> 16:  # up to four bytes of data lie in the tag itself
            kind, size, data = kind & 0xFFFF, kind >> 16, start + _TAG_BYTES // 2
            start += _TAG_BYTES
        else:
            # Compressed elements are not padded.
            start = data + size + (-size % _TAG_BYTES if kind != _COMPRESSED else 0)
        if data + size > len(content):
            raise ValueError("ends early")
        yield kind, content[data : data + size]


def _sides(path: Path, order: str, flags: memoryview, shape: memoryview) -> list[int]:
    """The shape of an array of real numbers that is not too large."""
    (flag,) = struct.unpack_from(f"{order}I", flags)
    if flag & 0xFF not in _NUMERIC_CLASSES or flag & _COMPLEX_FLAG:
        raise InputError(path, _NOT_REAL)
    sides: list[int] = np.frombuffer(shape, dtype=f"{order}i4").tolist()
    if min(sides) < 0:
        raise ValueError(f"the shape {tuple(sides)}")
    require_pixels(path, sides)
    return sides


def _array(path: Path, order: str, sides: list[int], parts: list[Part]) -> npt.NDArray[np.generic]:
    kind, values = parts[_HEAD_PARTS] if len(parts) > _HEAD_PARTS else (0, memoryview(b""))
    if kind not in _NUMBERS:
        raise InputError(path, _NOT_REAL)
    numbers = np.frombuffer(values, dtype=f"{order}{_NUMBERS[kind]}")
    if len(numbers) != math.prod(sides):
        raise ValueError(f"{len(numbers)} values for shape {tuple(sides)}")
    return numbers.reshape(sides, order="F").astype(numbers.dtype.newbyteorder("="))
