"""What a training has left in its OUTPUT_DIR: config, log, results of the last evaluation."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode

from selfsam_d2.engine.architectures import predicts_semantics
from selfsam_d2.engine.setup import load_config
from selfsam_d2.errors import InputError
from selfsam_d2.evaluation.foreground_evaluator import FOREGROUND_FILE
from selfsam_d2.evaluation.nuclei_evaluator import RESULTS_FILE
from selfsam_d2.files import parse_json
from selfsam_d2.visualization.curves import read_training_log, trainings_in_log

__all__ = ["FinishedRun", "RunLog", "kept_weights", "read_run"]

# Lines of log.txt, the text of Detectron2's hooks and evaluator and of our trainer.
PLAN = re.compile(r"\d+ images, (\d+) crops per epoch, (\d+) steps, (\d+) epochs")
INFERENCE = re.compile(r"Total inference time: \S+ \(([\d.]+) s / iter per device")
TRAINING = re.compile(r"Total training time: (.+)$")
START = re.compile(r"Starting training from iteration (\d+)")
LEFT_BEHIND = re.compile(r"iter: \d+ .*total_loss: |Saving checkpoint to ")
MEMORY = re.compile(r"max_mem: (\d+)M")


@dataclass(frozen=True)
class RunLog:
    """What ``log.txt`` says beside ``metrics.json``; of several starts in one folder, all.

    Attributes:
        crops_per_epoch: of SelfSAM; None: not in the log.
        inference: seconds per image of each evaluation of five images or more.
        training: how long each start took, in Detectron2's words.
        gpu_memory: peak, MB; None on a CPU.
        trainings: that began at step 0 and left something in the folder, by this file or, where
            it names no start, by ``metrics.json``; one that was resumed counts once.
    """

    crops_per_epoch: int | None = None
    inference: list[float] = field(default_factory=list)
    training: list[str] = field(default_factory=list)
    gpu_memory: int | None = None
    trainings: int = 1


@dataclass(frozen=True)
class FinishedRun:
    """A training, finished or not.

    Attributes:
        folder: its OUTPUT_DIR.
        cfg: its config.
        rows: of ``metrics.json``, sorted by step; none where nothing is logged yet.
        log: of ``log.txt``.
    """

    folder: Path
    cfg: CfgNode
    rows: Sequence[dict[str, Any]]
    log: RunLog

    @property
    def steps(self) -> int:
        """Steps that are logged."""
        return 1 + max((row["iteration"] for row in self.rows if "total_loss" in row), default=-1)

    def values(self, name: str) -> list[float]:
        """What is logged of a scalar, by the steps."""
        return [row[name] for row in self.rows if row.get(name) is not None]

    def median(self, name: str) -> float | None:
        """Median over the rows of a scalar; None where it is not logged."""
        values = self.values(name)
        return statistics.median(values) if values else None

    def epoch_of(self, row: dict[str, Any]) -> int | None:
        """The epoch of a row of the log, from 0; None where the log does not tell."""
        crops = self.log.crops_per_epoch
        return None if crops is None else row["iteration"] * self.cfg.SOLVER.IMS_PER_BATCH // crops

    def results_folder(self, dataset: str) -> Path:
        """Where the evaluation of one of the test datasets left its files."""
        folder = self.folder / "inference"
        return folder / dataset if len(self.cfg.DATASETS.TEST) > 1 else folder

    def metrics(self, dataset: str) -> dict[str, Any] | None:
        """What :func:`selfsam_d2.evaluation.summary.summarise` gave; None: not evaluated.

        Raises:
            InputError: the file is damaged.
        """
        name = FOREGROUND_FILE if predicts_semantics(self.cfg) else RESULTS_FILE
        path = self.results_folder(dataset) / name
        if not path.is_file():
            return None
        summary = _read_json(path)
        if not isinstance(summary, dict) or not {"mean", "images"} <= summary.keys():
            raise InputError(path, "holds no metrics of images; evaluate again (--eval-only)")
        return summary

    def coco_results(self, dataset: str) -> list[dict[str, Any]] | None:
        """The predictions of the last evaluation; None: there are none.

        Raises:
            InputError: the file is damaged.
        """
        path = self.results_folder(dataset) / "coco_instances_results.json"
        if not path.is_file():
            return None
        results = _read_json(path)
        if not isinstance(results, list):
            raise InputError(path, "holds no list of predictions; evaluate again (--eval-only)")
        return results


def read_run(folder: str | Path) -> FinishedRun:
    """Read what a training has left.

    Args:
        folder: OUTPUT_DIR of ``tools/train_net.py``.

    Raises:
        InputError: it is no such folder, or a file of it cannot be used.
    """
    folder = Path(folder)
    config = folder / "config.yaml"
    if not config.is_file():
        raise InputError(
            folder, "no config.yaml in it: no run; give the OUTPUT_DIR of tools/train_net.py"
        )
    cfg = load_config(str(config), [])
    metrics = folder / "metrics.json"
    rows = read_training_log(metrics) if metrics.is_file() else []
    return FinishedRun(folder, cfg, rows, _read_log(folder))


def kept_weights(folder: Path) -> list[Path]:
    """The checkpoints of a training by their steps, that of its end last; without the best one."""
    numbered = sorted(folder.glob("model_[0-9]*.pth"))
    final = folder / "model_final.pth"
    return [*numbered, final] if final.is_file() else numbered


def _read_log(folder: Path) -> RunLog:
    path, metrics = folder / "log.txt", folder / "metrics.json"
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    trainings = _trainings(text)
    if not trainings and metrics.is_file():
        trainings = trainings_in_log(metrics)
    plans = PLAN.findall(text)
    memory = MEMORY.findall(text)
    return RunLog(
        crops_per_epoch=int(plans[-1][0]) if plans else None,
        inference=[float(seconds) for seconds in INFERENCE.findall(text)],
        training=[each for line in text.splitlines() for each in TRAINING.findall(line)],
        gpu_memory=max(map(int, memory)) if memory else None,
        trainings=max(trainings, 1),
    )


def _trainings(text: str) -> int:
    """Of the log, see :class:`RunLog`; 0 where it names no start."""
    _, *found = START.split(text)
    logs = [log for step, log in zip(found[::2], found[1::2], strict=True) if step == "0"]
    # One that ended before its first step, for lack of memory say, left nothing to be mixed up;
    # the last one has left its config.yaml.
    return sum(bool(LEFT_BEHIND.search(log)) for log in logs[:-1]) + bool(logs)


def _read_json(path: Path) -> Any:
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(path, f"cannot be read ({error}); evaluate again (--eval-only)") from error
