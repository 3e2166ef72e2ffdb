"""The splits of the built-in datasets: which images belong to each, and how many.

Those of MoNuSeg, CPM17 and CoNSeP are of the publications named below. TNBC was published without
one: its split is this project's.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from selfsam_d2.errors import InputError

__all__ = ["BUILTIN_SPLITS", "OFFICIAL_SPLITS", "TNBC_PATIENTS", "OfficialSplit", "check_split"]

NAMED_AT_MOST = 3


@dataclass(frozen=True)
class OfficialSplit:
    """The images of one split.

    Attributes:
        count: how many.
        names: their names without suffix; empty where only count and patients are known.
        patients: with no ``names``, what a name must have before its first ``_``.
    """

    count: int
    names: frozenset[str] = frozenset()
    patients: tuple[str, ...] = ()

    def has(self, name: str) -> bool:
        """Whether an image of this name belongs to the split."""
        return name in self.names if self.names else name.partition("_")[0] in self.patients


def _named(names: Collection[str]) -> OfficialSplit:
    return OfficialSplit(len(names), frozenset(names))


# Kumar et al. 2017, divided as by Qu et al. 2019: validation is one image of each training organ.
_MONUSEG = {
    "train": (
        *("TCGA-A7-A13E-01Z-00-DX1", "TCGA-A7-A13F-01Z-00-DX1", "TCGA-AR-A1AK-01Z-00-DX1"),
        *("TCGA-B0-5711-01Z-00-DX1", "TCGA-HE-7128-01Z-00-DX1", "TCGA-HE-7129-01Z-00-DX1"),
        *("TCGA-18-5592-01Z-00-DX1", "TCGA-38-6178-01Z-00-DX1", "TCGA-49-4488-01Z-00-DX1"),
        *("TCGA-G9-6336-01Z-00-DX1", "TCGA-G9-6348-01Z-00-DX1", "TCGA-G9-6356-01Z-00-DX1"),
    ),
    "val": (
        *("TCGA-AR-A1AS-01Z-00-DX1", "TCGA-HE-7130-01Z-00-DX1"),
        *("TCGA-50-5931-01Z-00-DX1", "TCGA-G9-6363-01Z-00-DX1"),
    ),
    "test": (
        # Breast, kidney, liver, prostate: two each.
        *("TCGA-E2-A14V-01Z-00-DX1", "TCGA-E2-A1B5-01Z-00-DX1", "TCGA-B0-5698-01Z-00-DX1"),
        *("TCGA-B0-5710-01Z-00-DX1", "TCGA-21-5784-01Z-00-DX1", "TCGA-21-5786-01Z-00-DX1"),
        *("TCGA-CH-5767-01Z-00-DX1", "TCGA-G9-6362-01Z-00-DX1"),
        # Bladder, colon, stomach, of which there is none to train on: two each.
        *("TCGA-DK-A2I6-01A-01-TS1", "TCGA-G2-A2EK-01A-02-TSB", "TCGA-AY-A8YK-01A-01-TS1"),
        *("TCGA-NH-A8F7-01A-01-TS1", "TCGA-KB-A93J-01A-01-TS1", "TCGA-RD-A8N9-01A-01-TS1"),
    ),
}
TNBC_PATIENTS: dict[str, tuple[str, ...]] = {
    "train": ("01", "02", "03", "04", "05", "06"),
    "val": ("07", "08"),
    "test": ("09", "10", "11"),
}
"""Split of TNBC (Naylor et al. 2019) -> its patients; this project's, by whole patients."""
# Images of the patients that are divided by name; of the others only the sum is known.
_TNBC_IMAGES = {"01": 7, "02": 3, "03": 5, "04": 8, "05": 4, "06": 3, "07": 3, "08": 4}


def _tnbc_names(patients: Collection[str]) -> list[str]:
    return [f"{each}_{n}" for each in patients for n in range(1, _TNBC_IMAGES[each] + 1)]


OFFICIAL_SPLITS: dict[str, dict[str, OfficialSplit]] = {
    "monuseg": {split: _named(names) for split, names in _MONUSEG.items()},
    # Vu et al. 2019, in the form of HoVer-Net: both splits count their images from 00.
    "cpm17": {split: _named([f"image_{n:02}" for n in range(32)]) for split in ("train", "test")},
    # Graham et al. 2019.
    "consep": {
        "train": _named([f"train_{n}" for n in range(1, 28)]),
        "test": _named([f"test_{n}" for n in range(1, 15)]),
    },
    "tnbc": {
        "train": _named(_tnbc_names(TNBC_PATIENTS["train"])),
        "val": _named(_tnbc_names(TNBC_PATIENTS["val"])),
        "test": OfficialSplit(13, patients=TNBC_PATIENTS["test"]),
    },
}
"""Dataset -> split -> its images."""

BUILTIN_SPLITS: dict[str, tuple[str, ...]] = {
    dataset: tuple(splits) for dataset, splits in OFFICIAL_SPLITS.items()
}
"""Dataset -> its splits; each is registered as ``<dataset>_<split>``."""


def check_split(dataset: str, split: str, images: Mapping[str, Path], folder: Path) -> None:
    """Check that these are the images of a split, by count and by name.

    Args:
        dataset: key of :data:`OFFICIAL_SPLITS`.
        split: of the dataset.
        images: name without suffix -> image. In MoNuSeg's an organ may stand before the code
            (``Breast_TCGA-...``).
        folder: where they were looked for, for the message.

    Raises:
        InputError: images are missing or do not belong to the split; the first few are named.
    """
    official = OFFICIAL_SPLITS[dataset][split]
    given = {_official_name(dataset, stem): path for stem, path in images.items()}
    missing = sorted(official.names - given.keys())
    foreign = [path.name for name, path in given.items() if not official.has(name)]
    if not missing and not foreign and len(images) == official.count:
        return
    found = [f"{len(images)} found"]
    found += [f"missing: {_first(missing)}"] if missing else []
    found += [f"not of it: {_first(foreign)}"] if foreign else []
    raise InputError(
        folder,
        f"is not {dataset}'s {split} split of {official.count} images "
        f"({'; '.join(found)}); give a folder with exactly these, or --any-images for a split of "
        "your own",
    )


def _official_name(dataset: str, stem: str) -> str:
    organ, underscore, code = stem.partition("_")
    return code if dataset == "monuseg" and underscore and organ.isalpha() else stem


def _first(names: list[str]) -> str:
    more = len(names) - NAMED_AT_MOST
    return ", ".join(names[:NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")
