"""What a config sets otherwise than Detectron2 and this package do."""

from __future__ import annotations

from typing import Any

from detectron2.config import CfgNode, get_cfg

from selfsam_d2.config import add_selfsam_config

__all__ = ["changed_keys"]


def changed_keys(cfg: CfgNode) -> dict[str, tuple[Any, Any]]:
    """Keys of a config that differ from the defaults.

    Returns:
        key, with dots -> (its value, the default or None where there is no such key); tuples are
        given as lists.
    """
    defaults = get_cfg()
    add_selfsam_config(defaults)
    before = _flat(defaults)
    return {
        key: (value, before.get(key))
        for key, value in _flat(cfg).items()
        if before.get(key) != value
    }


def _flat(cfg: CfgNode, prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in cfg.items():
        if isinstance(value, CfgNode):
            found.update(_flat(value, f"{prefix}{key}."))
        else:
            found[f"{prefix}{key}"] = _as_list(value)
    return found


def _as_list(value: Any) -> Any:
    """Tuples as lists, also inside of others: what YAML knows."""
    return [_as_list(each) for each in value] if isinstance(value, (list, tuple)) else value
