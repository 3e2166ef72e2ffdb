"""What a reader may do with a file: read it, or say in one line what is wrong with it."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

from selfsam_d2.errors import SelfSAMError
from tests.fuzz.reader import Reader

LONGEST = 2000  # characters of a message


def as_bytes(content: Any) -> bytes:
    return content if isinstance(content, bytes) else json.dumps(content).encode()


def read(reader: Reader, content: bytes, folder: Path) -> None:
    """Read it; errors of this package are one line that names the file."""
    path = folder / reader.name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    line = None
    try:
        with warnings.catch_warnings(record=True):
            reader.read(path)
    except SelfSAMError as error:
        line = str(error)
    if line is not None:
        assert any(subject in line for subject in (str(folder), *reader.subjects))
        assert len(line) < LONGEST
