"""Runs of configs x seeds x shifts: which there are, and what is kept of each."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from detectron2.config import CfgNode

from selfsam_d2.engine.architectures import learns_from_points
from selfsam_d2.engine.checks import check_config
from selfsam_d2.engine.config_changes import changed_keys
from selfsam_d2.engine.method_names import method_of
from selfsam_d2.engine.setup import load_config
from selfsam_d2.errors import InputError
from selfsam_d2.evaluation.nuclei_evaluator import RESULTS_FILE
from selfsam_d2.files import parse_json
from selfsam_d2.visualization.curves import read_training_log

__all__ = [
    "Experiment",
    "differing",
    "make_record",
    "plan_experiments",
    "read_record",
]

# Keys that change where and how fast a run goes, not what it is.
NOT_SETTINGS = (
    *("OUTPUT_DIR", "VERSION", "MODEL.DEVICE", "SELF_REFINE.BASE_STORE", "SELF_REFINE.STORE"),
    "INPUT.NUCLEI.MICRONS_PER_PIXEL",  # for predictions of slides
    *("DATALOADER.NUM_WORKERS", "DATALOADER.MAX_BAD", "TEST.EVAL_PERIOD", "TEST.COCO_AP"),
    *("SOLVER.CHECKPOINT_PERIOD", "SOLVER.CHECKPOINTS_KEPT", "SOLVER.AMP.ENABLED"),
    *("SOLVER.AMP.PRECISION", "CUDNN_BENCHMARK"),
)
NAMED = 3  # keys that a message names
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
        return {
            key: value
            for key, (value, _) in changed_keys(self.cfg).items()
            if key not in NOT_SETTINGS
        }

    def config(self) -> dict[str, Any]:
        """The whole config without its folders, which a YAML can hold as it is."""
        whole: dict[str, Any] = yaml.safe_load(self.cfg.dump())
        del whole["OUTPUT_DIR"], whole["SELF_REFINE"]["BASE_STORE"], whole["SELF_REFINE"]["STORE"]
        return whole

    def command(self) -> str:
        """What a reader types for this run; the folders are left out."""
        pairs = " ".join(map(shlex.quote, self.overrides))
        return f"python tools/train_net.py --config-file {self.config_file} {pairs}"


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
        InputError: a config cannot be used, or two runs have one name or the same settings.
    """
    planned: dict[str, Experiment] = {}
    names: dict[str, str] = {}
    for seed in seeds:
        for config_file in config_files:
            for shift in shifts if shifts is not None else [None]:
                experiment = _experiment(config_file, seed, shift, overrides)
                if experiment.name in planned:
                    raise InputError(
                        config_file, f"a second run named {experiment.name}; give each file once"
                    )
                planned[experiment.name] = experiment
                first = names.setdefault(json.dumps(experiment.settings()), experiment.name)
                if first != experiment.name:
                    raise InputError(
                        config_file, f"{experiment.name} is the run {first} again; leave one out"
                    )
    return list(planned.values())


def _experiment(
    config_file: str, seed: int, shift: float | None, overrides: Sequence[str]
) -> Experiment:
    pairs = [*overrides, "SEED", str(seed)]
    if shift is not None:
        pairs += ["INPUT.NUCLEI.SHIFT", f"{shift:g}"]
    cfg = load_config(config_file, pairs)
    check_config(cfg)
    if not learns_from_points(cfg):
        raise InputError(
            config_file,
            f"is of {cfg.MODEL.META_ARCHITECTURE}, which learns from masks; give configs over "
            "Base-SelfSAM.yaml, and train this one by tools/train_net.py",
        )
    if not cfg.DATASETS.TEST:
        raise InputError(config_file, "DATASETS.TEST is empty: a row needs images to evaluate")
    method_of(cfg)
    name = Path(config_file).stem
    ending = f"_shift{cfg.INPUT.NUCLEI.SHIFT:g}"
    name = f"{name.removesuffix(ending)}{ending}_seed{seed}"
    return Experiment(name, config_file, tuple(pairs), cfg)


def make_record(
    experiment: Experiment,
    folder: Path,
    seconds: float,
    commit: str | None,
    base: str | None,
    evaluation: Path | None = None,
) -> dict[str, Any]:
    """What is kept of a run that has ended.

    Args:
        experiment: the run.
        folder: its OUTPUT_DIR.
        seconds: that its processes took, evaluations included.
        commit: git revision of the code; None: not known.
        base: SHA-256 of the frozen encoder, since a name such as ``mobile_sam`` can stand for
            several; see :func:`selfsam_d2.modeling.trained_parts.base_digest`. None: not known.
        evaluation: OUTPUT_DIR of a later evaluation, whose results are taken in place of those of
            the training; the record then has no curve.

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
        place = (
            (evaluation or folder) / "inference" / (name if len(tests) > 1 else "") / RESULTS_FILE
        )
        try:
            results[name] = parse_json(place.read_text(encoding="utf-8"))
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
        "commit": commit,
        "base": base,
        "config": experiment.config(),
        "steps": steps,
        "seconds": round(seconds),
        "results": results,
        "evaluations": _evaluations(rows, steps) if evaluation is None else [],
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
        record = parse_json(path.read_text(encoding="utf-8"))
        settings = record["settings"]
        if not isinstance(settings, dict):
            raise ValueError("no settings")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(path, f"is no record of a run ({error}); delete it") from error
    if experiment is not None and settings != experiment.settings():
        keys = differing(settings, experiment.settings())
        raise InputError(path, f"is of a run with another {keys}; delete it or change --records")
    return dict(record)


def differing(settings: Mapping[str, Any], others: Mapping[str, Any]) -> str:
    """The keys in which two settings differ, for a message: some of them and how many more."""
    keys = sorted(key for key in {*settings, *others} if settings.get(key) != others.get(key))
    more = [f"{len(keys) - NAMED} more"] if len(keys) > NAMED else []
    return ", ".join([*keys[:NAMED], *more])
