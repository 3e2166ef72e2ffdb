"""From a YAML and ``KEY VALUE`` pairs, of this version or an earlier one, into a config."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from detectron2.config import CfgNode, downgrade_config, upgrade_config
from detectron2.config.compat import guess_version

from selfsam_d2.config import VERSION
from selfsam_d2.engine.config_versions import upgrade_values
from selfsam_d2.engine.yaml_texts import load_yaml, load_yaml_with_base
from selfsam_d2.errors import InputError, shortened

__all__ = ["leaves", "merge_config_file", "merge_config_text", "merge_pairs"]

MOST_REASON = 1000  # characters; a message of a library may quote the file


def merge_config_file(cfg: CfgNode, config_file: str | Path, opts: Sequence[str] = ()) -> None:
    """Detectron2's ``cfg.merge_from_file`` that also knows earlier versions of our keys.

    Keys that are gone are left out where they did nothing and refused by name otherwise; what
    changed its default keeps that of a version which the file states as ``SELFSAM.VERSION``. A file
    without it is of the present version, but for keys that are gone. Configs of Detectron2's first
    version are upgraded by Detectron2. 8 will do where a key holds 8.0.

    Args:
        cfg: changed in place; after ``add_selfsam_config``, and perhaps with keys of others.
        config_file: YAML, perhaps with ``_BASE_``.
        opts: KEY VALUE pairs over it, as one list.

    Raises:
        InputError: the file cannot be read, a key or value is wrong, or a newer version made it.
    """
    path = str(config_file)
    if not Path(path).is_file():
        raise InputError(path, "no such config file; see the folder configs/")
    with _in_one_line(path):
        _merge_values(cfg, load_yaml_with_base(path), path)
    merge_pairs(cfg, opts)


def merge_config_text(cfg: CfgNode, text: str, subject: str) -> None:
    """Merge the YAML that ``cfg.dump()`` writes, of this version or an earlier one, in place.

    Raises:
        InputError: a key or value is wrong, or a newer version made it.
    """
    with _in_one_line(subject):
        _merge_values(cfg, load_yaml(text), subject)


def merge_pairs(cfg: CfgNode, opts: Sequence[str]) -> None:
    """Merge ``KEY VALUE`` pairs, some of which may be of keys that are gone, in place.

    Raises:
        InputError: a key or value is wrong.
    """
    stray = [each for each in opts if str(each).startswith("--")]
    if stray:
        raise InputError(stray[0], "options go before the first KEY VALUE pair")
    if len(opts) % 2:
        raise InputError(opts[-1], "a key without a value; overrides are KEY VALUE pairs")
    versions = {"VERSION": cfg.VERSION, "SELFSAM.VERSION": VERSION}
    for key, value in zip(opts[::2], opts[1::2], strict=True):
        subject = f"{key} {value}"
        if key in versions and value != str(versions[key]):
            raise InputError(subject, "says how a file is read; leave it out")
        if key in versions:
            continue
        given: Any = value
        for part in reversed(key.split(".")):
            given = {part: given}
        with _in_one_line(subject):
            upgrade_values(given, subject)
            for name, kept in leaves(given):
                cfg.merge_from_list([name, _as_typed(cfg, name, kept)])


def _merge_values(cfg: CfgNode, given: dict[str, Any], subject: str) -> None:
    version = _detectron2_version(given, cfg.VERSION, subject)
    upgrade_values(given, subject)
    if version == cfg.VERSION:
        _make_floats(given, cfg)
        cfg.merge_from_other_cfg(CfgNode(given))
        return
    # As Detectron2's merge_from_file does it: its upgrade takes whole configs only.
    before = downgrade_config(cfg, to_version=version)
    _make_floats(given, before)
    before.merge_from_other_cfg(CfgNode(given))
    after = upgrade_config(before)
    cfg.clear()
    cfg.update(after)


def _detectron2_version(given: dict[str, Any], latest: int, subject: str) -> int:
    """Take Detectron2's own version out of the values; where there is none, what it guesses."""
    if "VERSION" not in given:
        log = logging.getLogger(guess_version.__module__)
        silent = log.disabled
        # It warns of each file without a version, though most are of the present one.
        log.disabled = True
        try:
            return int(guess_version(given, subject))
        finally:
            log.disabled = silent
    version = given.pop("VERSION")
    if type(version) is not int or version < 0:
        raise InputError(
            subject, f"VERSION {shortened(repr(version))}: expected a number from 0 to {latest}"
        )
    if version > latest:
        raise InputError(
            subject,
            f"made by a newer Detectron2 (VERSION {version}, this one reads up to {latest}); "
            "update it",
        )
    return version


def _make_floats(given: dict[str, Any], cfg: CfgNode) -> None:
    for key, value in given.items():
        known = cfg.get(key)
        if isinstance(known, CfgNode) and isinstance(value, dict):
            _make_floats(value, known)
        elif isinstance(known, float) and type(value) is int:
            given[key] = float(value)


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(key with dots, value) of nested values, such as those of a config."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _as_typed(cfg: CfgNode, key: str, value: str) -> str:
    """The value of a ``KEY VALUE`` pair, with 8 for 8.0 and a bare name for a tuple of one."""
    known: Any = cfg
    for part in key.split("."):
        known = known.get(part) if isinstance(known, CfgNode) else None
    if isinstance(known, float) and value.lstrip("+-").isdecimal():
        return str(float(value))
    if isinstance(known, tuple) and re.fullmatch(r"[\w.-]+", value):
        return repr((value,))
    return value


@contextmanager
def _in_one_line(subject: str) -> Iterator[None]:
    """What goes wrong in a merge, said of a file or pair."""
    try:
        yield
    except (AttributeError, TypeError) as error:
        raise InputError(subject, "is not a mapping of config keys; see configs/") from error
    except RecursionError as error:
        raise InputError(subject, "is nested too deeply; see configs/") from error
    except (AssertionError, KeyError, OSError, ValueError, yaml.YAMLError) as error:
        reason = str(error.args[0] if len(error.args) == 1 else error) or "cannot be read"
        reason = " ".join(reason.split())  # of a wrong type Detectron2 prints a whole section
        reason = reason if len(reason) <= MOST_REASON else f"{reason[:MOST_REASON]} ..."
        raise InputError(subject, f"{reason}; the keys stand in selfsam_d2/config.py") from error
