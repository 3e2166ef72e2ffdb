"""The alphabet of label maps: 0 background, 1 ... N nuclei, -1 ignored."""

from __future__ import annotations

__all__ = ["IGNORE"]

IGNORE = -1
