"""The instance map in a MATLAB file, the form in which CPM17 and CoNSeP are published.

``scipy.io.loadmat`` is not used: it takes types in the file as indices without a check, and one
damaged byte can end the process (seen with SciPy 1.17). What is read here is one array of numbers.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from selfsam_d2.errors import InputError

__all__ = ["INSTANCE_MAP", "read_instance_map"]

INSTANCE_MAP = "inst_map"
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_MATLAB_73_HEADER_BYTES = 512  # before the HDF5 file
_HEADER_BYTES = 128
# The last four bytes of the header: version 1 and the order of bytes.
_BYTE_ORDERS = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}
_TAG_BYTES = 8
_MATRIX, _COMPRESSED = 14, 15
_LEAST_PARTS = 3  # of a variable: flags, shape, name; an empty cell array has no more
# Type of an element in the file -> NumPy's name for it.
_NUMBERS = dict(enumerate(("i1", "u1", "i2", "u2", "i4", "u4", "f4"), start=1))
_NUMBERS |= {9: "f8", 12: "i8", 13: "u8"}
_NUMERIC_CLASSES = range(6, 16)  # double, single, integers; below: cell, struct, char, sparse
_COMPLEX_FLAG = 0x800


def read_instance_map(path: Path) -> npt.NDArray[np.generic]:
    """The variable ``inst_map`` of a ``.mat`` file of version 5 to 7.2.

    Args:
        path: as MATLAB or ``scipy.io.savemat`` writes it, compressed or not.

    Returns:
        The array in the type in which it is stored, of any shape.

    Raises:
        InputError: the file is of another version, has no ``inst_map``, or that is not an array
            of real numbers.
        ValueError: the file is damaged.
        zlib.error: likewise.
        struct.error: likewise.
    """
    content = path.read_bytes()
    hdf5 = content.find(_HDF5_SIGNATURE, 0, _MATLAB_73_HEADER_BYTES + len(_HDF5_SIGNATURE))
    if hdf5 in (0, _MATLAB_73_HEADER_BYTES):
        raise InputError(
            path, "is a MATLAB 7.3 (HDF5) file, which is not read; save it with save -v7 in MATLAB"
        )
    order = _BYTE_ORDERS.get(content[_HEADER_BYTES - 4 : _HEADER_BYTES])
    if order is None:
        raise InputError(
            path, "is damaged or no MATLAB file of version 5 to 7.2; get or save it again"
        )
    for flags, shape, name, *data in _variables(content[_HEADER_BYTES:], order):
        if name[1] == INSTANCE_MAP.encode():
            return _array(path, order, flags[1], shape[1], data)
    raise InputError(
        path, f"has no variable {INSTANCE_MAP}, which holds the id of each pixel's nucleus"
    )


def _variables(content: bytes, order: str) -> Iterator[list[tuple[int, bytes]]]:
    """The parts of each variable: flags, shape, name and what it holds."""
    for kind, element in _elements(content, order):
        if kind == _COMPRESSED:
            yield from _variables(zlib.decompress(element), order)
            continue
        parts = list(_elements(element, order)) if kind == _MATRIX else []
        if len(parts) < _LEAST_PARTS:
            raise ValueError("an element that is no variable")
        yield parts


def _elements(content: bytes, order: str) -> Iterator[tuple[int, bytes]]:
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


def _array(
    path: Path, order: str, flags: bytes, shape: bytes, data: list[tuple[int, bytes]]
) -> npt.NDArray[np.generic]:
    (flag,) = struct.unpack_from(f"{order}I", flags)
    kind, values = data[0] if data else (0, b"")
    if flag & 0xFF not in _NUMERIC_CLASSES or flag & _COMPLEX_FLAG or kind not in _NUMBERS:
        raise InputError(path, f"its {INSTANCE_MAP} is not an array of real numbers")
    sides = np.frombuffer(shape, dtype=f"{order}i4").tolist()
    numbers = np.frombuffer(values, dtype=f"{order}{_NUMBERS[kind]}")
    if min(sides) < 0 or len(numbers) != math.prod(sides):
        raise ValueError(f"{len(numbers)} values for shape {tuple(sides)}")
    return numbers.reshape(sides, order="F").astype(numbers.dtype.newbyteorder("="))
