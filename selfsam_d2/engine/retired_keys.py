"""Keys that earlier versions of this package had: old configs keep working where they can."""

from __future__ import annotations

import ast
from typing import Any

__all__ = ["RETIRED", "drop_retired"]

ANY = object()  # another key of the same feature decided

# key -> the value with which nothing that is gone was in use.
RETIRED: dict[str, Any] = {
    "INFERENCE.SCALES": (1.0,),
    "INPUT.NUCLEI.STAIN": 0.0,
    "MODEL.LOSS.POINT_WEIGHT": ANY,
    "MODEL.NUCLEI_HEAD.POINT_MAP": False,
    "MODEL.NUCLEI_HEAD.POINT_SIGMA": ANY,
    "POSTPROCESS.PEAK_DISTANCE": ANY,
    "POSTPROCESS.PEAK_THRESHOLD": ANY,
    "PSEUDO_LABEL.DECODER_START": ANY,
    "PSEUDO_LABEL.DECODER_WEIGHT": 0.0,
    "SELF_REFINE.BASE_BLEND": ANY,
    "SELF_REFINE.BASE_WEIGHTS": "",
}


def drop_retired(given: dict[str, Any]) -> None:
    """Remove retired keys from the values of a config, in place.

    Args:
        given: nested values as a YAML holds them.

    Raises:
        ValueError: a feature that is gone was in use.
    """
    for key, idle in RETIRED.items():
        *path, name = key.split(".")
        node: Any = given
        for part in path:
            node = node.get(part) if isinstance(node, dict) else None
        if not isinstance(node, dict) or name not in node:
            continue
        value = _decoded(node.pop(name))
        if idle is not ANY and value != idle:
            raise ValueError(
                f"{key} {value!r} was taken out: it did not help (CHANGELOG.md); leave it out, or "
                "use the version of this package that the config was made with"
            )


def _decoded(value: Any) -> Any:
    """A value of a YAML as the config would have it: ``(1.0,)`` is a string there."""
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            return value
    return tuple(value) if isinstance(value, list) else value
