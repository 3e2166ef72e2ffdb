"""From the keys of an earlier version of this package to those of the present one.

``SELFSAM.VERSION`` counts the changes that take a key away, or give it another meaning or another
default with which nuclei or trainings become other ones; it is written wherever a config is
written. Detectron2's ``VERSION`` is of its own keys. Keys that were added need no version: what
they do by default was done before, or is of speed and disk only.

What a file without ``SELFSAM.VERSION`` means: configs that people write have none, nor have those
of ``configs/``, and both want the defaults of today. Dumps that were made before the key existed
have none either, but all values of then stand in them, so that no default matters. So such a file
is of the present version, unless it holds a key that is gone; then of the last one that had it.
That never is version 1, whose every key version 2 has too: who has a short YAML of those days
states it, ``SELFSAM: {VERSION: 1}``, and gets the defaults of those days for what it leaves out.

The next step: raise ``VERSION`` in :mod:`selfsam_d2.config`, put the keys that go into
:data:`GONE` and a function into :data:`UPGRADES`. It changes nested values in place. It fills an
old default in only by ``setdefault``, and only if no key of :data:`GONE` alone can tell the version
before it: a ``KEY VALUE`` pair with such a key goes the same way.
"""

from __future__ import annotations

import ast
import logging
from collections.abc import Callable
from typing import Any

from selfsam_d2.config import VERSION
from selfsam_d2.errors import InputError, shortened

__all__ = ["ANY", "GONE", "UPGRADES", "upgrade_values"]

logger = logging.getLogger(__name__)

VERSION_KEY = "SELFSAM.VERSION"
ABSENT = object()
ANY = object()  # another key of the same feature decided, or none read it

# Version without them -> key -> the value with which nothing that is gone was in use.
GONE: dict[int, dict[str, Any]] = {
    3: {"TEST.MAX_NUCLEI": ANY},  # TEST.DETECTIONS_PER_IMAGE was what acted
    4: {
        "MODEL.LOSS.POINT_WEIGHT": ANY,
        "MODEL.NUCLEI_HEAD.POINT_MAP": False,
        "MODEL.NUCLEI_HEAD.POINT_SIGMA": ANY,
        "POSTPROCESS.PEAK_DISTANCE": ANY,
        "POSTPROCESS.PEAK_THRESHOLD": ANY,
    },
    5: {"INFERENCE.SCALES": (1.0,)},
    6: {"SELF_REFINE.BASE_BLEND": ANY, "SELF_REFINE.BASE_WEIGHTS": ""},
    7: {"PSEUDO_LABEL.DECODER_START": ANY, "PSEUDO_LABEL.DECODER_WEIGHT": 0.0},
    8: {"INPUT.NUCLEI.STAIN": 0.0},
}
# PSEUDO_LABEL.NAME -> weights of MODEL.LOSS that counted until version 8.
LOST_LOSSES = {
    "StaticSAMLabels": ("CONTRAST_WEIGHT",),
    "VoronoiClusterLabels": ("PROMPT_WEIGHT", "CONTRAST_WEIGHT"),
}


def upgrade_values(given: dict[str, Any], subject: str) -> None:
    """Bring the values of a config to the present version, in place, without its number.

    Args:
        given: nested values as a YAML holds them.
        subject: where they stand, for messages.

    Raises:
        InputError: they are of a newer version, or a feature that is gone was in use.
    """
    for version in range(_version_of(given, subject) + 1, VERSION + 1):
        UPGRADES[version](given, subject)


def _version_of(given: dict[str, Any], subject: str) -> int:
    """The version that the values state or that their keys show, the earlier of both."""
    stated = _take(given, VERSION_KEY)
    if stated is ABSENT:
        stated = VERSION
    if type(stated) is not int or stated < 1:
        raise InputError(
            subject,
            f"{VERSION_KEY} {shortened(repr(stated))}: expected a number from 1 to {VERSION}",
        )
    if stated > VERSION:
        raise InputError(
            subject,
            f"made by a newer selfsam_d2 ({VERSION_KEY} {stated}, this one reads up to {VERSION}); "
            "update it",
        )
    shown = [
        version - 1
        for version, keys in GONE.items()
        if any(_look(given, key) is not ABSENT for key in keys)
    ]
    return min([stated, *shown])


def _to_2(given: dict[str, Any], subject: str) -> None:
    """The markers of the post-processing were 0.5, opened by 5 px, and became 0.4 and 3 px."""
    del subject
    settings = given.setdefault("POSTPROCESS", {})
    if isinstance(settings, dict):
        settings.setdefault("MARKER_THRESHOLD", 0.5)
        settings.setdefault("MARKER_OPENING", 5)


def _to_3(given: dict[str, Any], subject: str) -> None:
    """The limit of nuclei per image went, which nothing read."""
    _drop(given, GONE[3], subject)


def _to_4(given: dict[str, Any], subject: str) -> None:
    """The map of the points beside the HV maps went."""
    _drop(given, GONE[4], subject)


def _to_5(given: dict[str, Any], subject: str) -> None:
    """The mean over predictions at several sizes went."""
    _drop(given, GONE[5], subject)


def _to_6(given: dict[str, Any], subject: str) -> None:
    """Further rounds of base masks went."""
    _drop(given, GONE[6], subject)


def _to_7(given: dict[str, Any], subject: str) -> None:
    """The nuclei decoder's say in the masks of the labels went."""
    _drop(given, GONE[7], subject)


def _to_8(given: dict[str, Any], subject: str) -> None:
    """Stain augmentation went, and PSEUDO_LABEL.NAME alone chooses the losses of its method."""
    _drop(given, GONE[8], subject)
    maker = _look(given, "PSEUDO_LABEL.NAME")
    for name in LOST_LOSSES.get(maker, ()) if isinstance(maker, str) else ():
        key = f"MODEL.LOSS.{name}"
        weight = _look(given, key)
        weight = 1.0 if weight is ABSENT else weight
        if weight:
            logger.warning(
                "%s: %s %s counts as 0 now: %s has no such loss", subject, key, weight, maker
            )


# Version -> what brings values of the one before to it.
UPGRADES: dict[int, Callable[[dict[str, Any], str], None]] = {
    2: _to_2,
    3: _to_3,
    4: _to_4,
    5: _to_5,
    6: _to_6,
    7: _to_7,
    8: _to_8,
}


def _drop(given: dict[str, Any], keys: dict[str, Any], subject: str) -> None:
    """Take keys out that did nothing, and refuse those that did."""
    for key, idle in keys.items():
        value = _take(given, key)
        if value is ABSENT or idle is ANY or _decoded(value) == idle:
            continue
        raise InputError(
            subject,
            f"{key} {shortened(repr(_decoded(value)))} was taken out: it did not help "
            "(CHANGELOG.md); leave it out, or use the version of this package that the config was "
            "made with",
        )


def _take(given: dict[str, Any], key: str) -> Any:
    node, name = _place(given, key)
    return node.pop(name, ABSENT)


def _look(given: dict[str, Any], key: str) -> Any:
    node, name = _place(given, key)
    return node.get(name, ABSENT)


def _place(given: dict[str, Any], key: str) -> tuple[dict[str, Any], str]:
    """The dict that holds a key with dots, and its last name; an empty one where there is none."""
    *path, name = key.split(".")
    node: Any = given
    for part in path:
        node = node.get(part) if isinstance(node, dict) else None
    return (node if isinstance(node, dict) else {}), name


def _decoded(value: Any) -> Any:
    """A value of a YAML as the config would have it: ``(1.0,)`` is a string there."""
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            return value
    return tuple(value) if isinstance(value, list) else value
