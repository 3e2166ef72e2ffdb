"""Runs of configs x seeds x shifts: which there are, and what is kept of each."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode, get_cfg

from selfsam_d2.config import add_selfsam_config
from selfsam_d2.engine.checks import check_config
from selfsam_d2.engine.setup import load_config
from selfsam_d2.errors import InputError
from selfsam_d2.evaluation.nuclei_evaluator import RESULTS_FILE
from selfsam_d2.visualization.curves import read_training_log

__all__ = ["Experiment", "make_record", "method_of", "plan_experiments", "read_record"]

# Keys that change where and how fast a run goes, not what it is.
NOT_SETTINGS = (
    *("OUTPUT_DIR", "VERSION", "MODEL.DEVICE", "SELF_REFINE.BASE_STORE", "SELF_REFINE.STORE"),
    *("DATALOADER.NUM_WORKERS", "TEST.EVAL_PERIOD", "TEST.COCO_AP", "SOLVER.CHECKPOINT_PERIOD"),
    *("SOLVER.CHECKPOINTS_KEPT", "SOLVER.AMP.ENABLED", "CUDNN_BENCHMARK"),
)
CURVE = ("nuclei/AJI", "nuclei/Dice")


@dataclass(frozen=True)
class Experiment:
    """One training with its seed and shift.

    Attributes:
        name: of its folder and record: stem of the config, shift, seed.
        config_file: YAML.
        overrides: KEY VALUE pairs over the YAML, seed and shift among them.
        cfg: what both give.
    """

    name: str
    config_file: str
    overrides: tuple[str, ...]
    cfg: CfgNode

    def settings(self) -> dict[str, Any]:
        """Keys that differ from the defaults, without those of folders and speed."""
        defaults = get_cfg()
        add_selfsam_config(defaults)
        before, after = _flat(defaults), _flat(self.cfg)
        return {
            key: value
            for key, value in after.items()
            if key not in NOT_SETTINGS and before.get(key) != value
        }

    def command(self) -> str:
        """What a reader types for this run; the folders are left out."""
        pairs = " ".join(map(shlex.quote, self.overrides))
        return f"python tools/train_net.py --config-file {self.config_file} {pairs}"


def _flat(cfg: CfgNode, prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in cfg.items():
        if isinstance(value, CfgNode):
            found.update(_flat(value, f"{prefix}{key}."))
        else:
            found[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return found


def plan_experiments(
    config_files: Sequence[str],
    seeds: Sequence[int],
    shifts: Sequence[float] | None = None,
    overrides: Sequence[str] = (),
) -> list[Experiment]:
    """Every config with every shift and every seed, seeds outermost, so that each row comes early.

    Args:
        config_files: YAMLs.
        seeds: of SEED.
        shifts: px, of INPUT.NUCLEI.SHIFT; None: each config has its own.
        overrides: KEY VALUE pairs for all.

    Raises:
        InputError: a config cannot be used, or two of them have one name.
    """
    planned: dict[str, Experiment] = {}
    for seed in seeds:
        for config_file in config_files:
            for shift in shifts if shifts is not None else [None]:
                experiment = _experiment(config_file, seed, shift, overrides)
                if experiment.name in planned:
                    raise InputError(
                        config_file, f"a second run named {experiment.name}; give each file once"
                    )
                planned[experiment.name] = experiment
    return list(planned.values())


def _experiment(
    config_file: str, seed: int, shift: float | None, overrides: Sequence[str]
) -> Experiment:
    pairs = [*overrides, "SEED", str(seed)]
    if shift is not None:
        pairs += ["INPUT.NUCLEI.SHIFT", f"{shift:g}"]
    cfg = load_config(config_file, pairs)
    check_config(cfg)
    name = Path(config_file).stem
    ending = f"_shift{cfg.INPUT.NUCLEI.SHIFT:g}"
    name = f"{name.removesuffix(ending)}{ending}_seed{seed}"
    return Experiment(name, config_file, tuple(pairs), cfg)


def method_of(cfg: CfgNode) -> str:
    """The row of the paper that a config stands for.

    ``static``: InstaSAM; ``no contrast``: EMA and consensus; ``alpha constant`` …: Table 3;
    ``self-refining``: the whole method; ``voronoi``: the label maker of that name; ``stain
    joins``, ``stain and boxes join`` …: who else has a say in the labels, not in the paper: the
    haematoxylin stain, the boxes of what the model sees.
    """
    labels, refine = cfg.PSEUDO_LABEL, cfg.SELF_REFINE
    if labels.NAME == "VoronoiClusterLabels":
        return "voronoi"
    contrast = cfg.MODEL.LOSS.CONTRAST_WEIGHT > 0
    joining = ["stain"] * (labels.STAIN_WEIGHT > 0) + ["boxes"] * labels.REPROMPT
    if labels.NAME == "SelfRefiningLabels" and joining:
        return _method_of_joined_labels(cfg, joining, contrast)
    static = labels.NAME == "StaticSAMLabels" or refine.ALPHA_SCHEDULE == "static"
    if static:
        plain = not contrast and (labels.NAME == "StaticSAMLabels" or not labels.CONSENSUS)
        return "static" if plain else "alpha static"
    name = "self-refining"
    if refine.ALPHA_SCHEDULE != "linear":
        name = f"alpha {refine.ALPHA_SCHEDULE}"
    if not labels.CONSENSUS:
        name += ", no consensus"
    if contrast:
        return name
    return "no contrast" if name == "self-refining" else f"{name}, no contrast"


def _method_of_joined_labels(cfg: CfgNode, joining: list[str], contrast: bool) -> str:
    """Who joins static masks without consensus and contrast, or with which of them."""
    name = f"{' and '.join(joining)} join{'s' * (joining == ['stain'])}"
    others = [] if cfg.SELF_REFINE.ALPHA_SCHEDULE == "static" else [cfg.SELF_REFINE.ALPHA_SCHEDULE]
    others += ["consensus"] * cfg.PSEUDO_LABEL.CONSENSUS + ["contrast"] * contrast
    return ", ".join([name, *(f"with {each}" for each in others)])


def make_record(experiment: Experiment, folder: Path, seconds: float) -> dict[str, Any]:
    """What is kept of a run that has ended.

    Args:
        experiment: the run.
        folder: its OUTPUT_DIR.
        seconds: that its processes took, evaluations included.

    Raises:
        InputError: the folder holds no result.
    """
    cfg = experiment.cfg
    rows = read_training_log(folder / "metrics.json")
    # Rows are counted from 0. What is evaluated after the last step follows, again if the run
    # was started once more before it had a record.
    steps = 1 + max((row["iteration"] for row in rows if "total_loss" in row), default=-1)
    tests = cfg.DATASETS.TEST
    results = {}
    for name in tests:
        place = folder / "inference" / (name if len(tests) > 1 else "") / RESULTS_FILE
        try:
            results[name] = json.loads(place.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(place, "holds no result; delete the folder") from error
    return {
        "name": experiment.name,
        "method": method_of(cfg),
        "encoder": cfg.MODEL.SAM.ENCODER,
        "shift": cfg.INPUT.NUCLEI.SHIFT,
        "seed": cfg.SEED,
        "command": experiment.command(),
        "settings": experiment.settings(),
        "steps": steps,
        "seconds": round(seconds),
        "results": results,
        "evaluations": _evaluations(rows, steps),
    }


def _evaluations(rows: Iterable[dict[str, Any]], steps: int) -> list[dict[str, Any]]:
    found = {
        min(row["iteration"] + 1, steps): {name: row[name] for name in CURVE if name in row}
        for row in rows
        if CURVE[0] in row
    }
    return [{"step": step, **scores} for step, scores in found.items()]


def read_record(path: Path, experiment: Experiment | None = None) -> dict[str, Any] | None:
    """The record of a run, or None if there is none.

    Args:
        path: its file.
        experiment: what it must be a record of; None: anything.

    Raises:
        InputError: the file is damaged, or of a run with other settings.
    """
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        settings = record["settings"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(path, f"is no record of a run ({error}); delete it") from error
    if experiment is not None and settings != experiment.settings():
        wanted = experiment.settings()
        differ = sorted(key for key in {*settings, *wanted} if settings.get(key) != wanted.get(key))
        raise InputError(
            path,
            f"is of a run with another {', '.join(differ[:3])}; delete it or change --records",
        )
    return dict(record)
