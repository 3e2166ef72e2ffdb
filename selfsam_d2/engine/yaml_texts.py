"""YAML of users, read within bounds: some hundred bytes of aliases can stand for gigabytes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO, Any

import yaml
from detectron2.config import CfgNode

from selfsam_d2.errors import InputError, shortened
from selfsam_d2.structures.image_files import MEBIBYTE, require_file

__all__ = ["load_yaml", "load_yaml_with_base"]

# Values of a YAML with its aliases written out; a whole config has some 700.
MOST_VALUES = 10_000
# A whole config has some 20 kB; parsing takes seconds and hundreds of times the memory of each MiB.
MOST_BYTES = MEBIBYTE


def load_yaml(text: str) -> Any:
    """What ``yaml.safe_load`` gives.

    Raises:
        ValueError: it is longer than :data:`MOST_BYTES`, or its aliases stand for more than
            :data:`MOST_VALUES` values, or for themselves.
        yaml.YAMLError: it is not YAML.
    """
    if len(text) > MOST_BYTES:
        raise ValueError(f"is longer than {MOST_BYTES} characters")
    _bound_aliases(text)
    return yaml.safe_load(text)


def load_yaml_with_base(path: str) -> Any:
    """A YAML file over those that its ``_BASE_`` names, each bounded as by :func:`load_yaml`.

    Raises:
        InputError: a file is missing or larger than :data:`MOST_BYTES`, or ``_BASE_`` is an
            address: a file is not to choose what is requested.
        OSError: a file cannot be read.
        ValueError: as :func:`load_yaml`.
        yaml.YAMLError: likewise.
    """
    return _Bounded.load_yaml_with_base(path)


class _Bounded(CfgNode):
    """Detectron2's reader of ``_BASE_``, which opens each file by this method."""

    @classmethod
    def _open_cfg(cls, filename: str) -> IO[str]:
        # Detectron2 would fetch addresses, of which it knows more kinds than HTTP.
        if "://" in filename:
            raise InputError(
                shortened(filename), "is an address, which _BASE_ may not be; name a file there"
            )
        path = Path(filename)
        require_file(path, MOST_BYTES, "give a config; a whole one has some 20 kB")
        text = path.read_text(encoding="utf-8")
        _bound_aliases(text)
        return io.StringIO(text)


def _bound_aliases(text: str) -> None:
    # What has no alias is no larger than its text, and is not parsed twice.
    if "*" in text:
        _count(yaml.compose(text, Loader=yaml.SafeLoader), {})


def _count(node: yaml.Node | None, known: dict[yaml.Node, int]) -> int:
    """Values below a node and itself, each as often as an alias stands for it.

    Args:
        node: of the graph, in which an alias is the node that it stands for.
        known: those that are counted already; 0 while one is.
    """
    if node is None or isinstance(node, yaml.ScalarNode):
        return 1
    if node in known:
        if not known[node]:
            raise ValueError("an alias stands for what holds it")
        return known[node]
    known[node] = 0
    below = [each for pair in node.value for each in pair] if _is_map(node) else node.value
    count = 1 + sum(_count(each, known) for each in below)
    if count > MOST_VALUES:
        raise ValueError(f"its aliases stand for more than {MOST_VALUES} values")
    known[node] = count
    return count


def _is_map(node: yaml.Node) -> bool:
    return isinstance(node, yaml.MappingNode)
