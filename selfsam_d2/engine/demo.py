"""The demonstration: synthetic images, a short training from points, pictures of the result."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.utils.env import seed_all_rng
from detectron2.utils.logger import setup_logger

from selfsam_d2.data.images import read_image
from selfsam_d2.data.registration import register_nuclei_instances
from selfsam_d2.data.synthetic import write_synthetic_dataset
from selfsam_d2.engine.epochs import enter_epoch
from selfsam_d2.engine.progress import ProgressHook
from selfsam_d2.engine.self_refine_hook import unwrap
from selfsam_d2.engine.setup import load_config
from selfsam_d2.engine.trainer import SelfSAMTrainer
from selfsam_d2.engine.training_crops import view_training_crops
from selfsam_d2.engine.validation import Evaluation, evaluate_and_keep
from selfsam_d2.errors import InputError
from selfsam_d2.evaluation.summary import write_json
from selfsam_d2.structures.annotation_masks import annotations_to_map
from selfsam_d2.visualization.comparison import draw_comparison
from selfsam_d2.visualization.curves import draw_curves, read_training_log
from selfsam_d2.visualization.label_figure import draw_label_figure

__all__ = ["DemoOptions", "DemoRun", "run_demo"]

TRAIN_NAME, VAL_NAME = "synthetic_train", "synthetic_val"
# Lies in every folder that a demo wrote, so that no other folder is ever emptied.
MARKER = ".selfsam-demo"
EVALUATIONS = 4  # of the metric curves, the last one at the end
LABEL_CROPS = 3
LOGGERS = ("detectron2", "fvcore", "selfsam_d2", "py.warnings")
DECIDING_METRICS = ("AJI", "Dice")


@dataclass(frozen=True)
class DemoOptions:
    """What a demo is run with.

    Attributes:
        output: folder of everything that is written; emptied if an earlier demo wrote it.
        config_file: YAML.
        overrides: ``KEY VALUE`` pairs that go before the config file.
        steps: of the training; None: as in the config.
        seed: of the images, of the training and of the augmentation.
        train_images: number of them.
        val_images: number of them.
        size: side of an image, px.
    """

    output: Path
    config_file: Path
    overrides: list[str] = field(default_factory=list)
    steps: int | None = None
    seed: int = 0
    train_images: int = 12
    val_images: int = 4
    size: int = 256


@dataclass
class DemoRun:
    """A demo that was run.

    Attributes:
        options: as given.
        config: of the training.
        before: the untrained model.
        after: the trained model.
        timings: what was done -> seconds.
        overlays: pictures of the validation images.
        label_figures: pictures of training crops at the start and at the end.
        curves: picture of losses and metrics.
        facts: name -> value.
    """

    options: DemoOptions
    config: CfgNode
    before: Evaluation
    after: Evaluation
    timings: dict[str, float]
    overlays: list[Path]
    label_figures: list[Path]
    curves: Path
    facts: dict[str, str]

    @property
    def improved(self) -> bool:
        """Whether training raised AJI and Dice."""
        return all(
            (self.after.mean[name] or 0.0) > (self.before.mean[name] or 0.0)
            for name in DECIDING_METRICS
        )


class _Stopwatch:
    """Says what is begun and notes how long it took."""

    def __init__(self, announce: Callable[[str], None]) -> None:
        self.timings: dict[str, float] = {}
        self._announce = announce

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        self._announce(what)
        start = time.perf_counter()
        yield
        self.timings[what] = time.perf_counter() - start


def run_demo(options: DemoOptions, announce: Callable[[str], None]) -> DemoRun:
    """Write the dataset, train, evaluate before and after, draw; all but the report.

    Args:
        options: of the demo.
        announce: told in a few words what is begun.

    Raises:
        InputError: the output folder holds something else, or an option or key is wrong.
    """
    watch = _Stopwatch(announce)
    cfg = _demo_config(options)
    _clear_folder(options.output)
    _start_log(cfg)
    with watch("writing synthetic images"):
        _write_dataset(options)
    with watch("loading the model"):
        trainer = SelfSAMTrainer(cfg)
        trainer.resume_or_load(resume=False)
        trainer.register_hooks([ProgressHook()])
    with watch("evaluating the untrained model"):
        before = evaluate_and_keep(trainer, VAL_NAME, options.output / "inference_before")
        enter_epoch(unwrap(trainer.model), cfg, 0, trainer.epochs)
        labels_start = _draw_labels(trainer, options.output / "labels_start.png", "at the start")
    with watch("training"):
        trainer.train()
    with watch("evaluating the trained model"):
        after = evaluate_and_keep(trainer, VAL_NAME, options.output / "inference_after")
    with watch("drawing"):
        labels_end = _draw_labels(trainer, options.output / "labels_end.png", "at the end")
        overlays = _draw_overlays(before, after, options.output / "overlays")
        curves = options.output / "curves.png"
        draw_curves(read_training_log(Path(cfg.OUTPUT_DIR) / "metrics.json"), curves, before.mean)
    write_json(options.output / "metrics.json", {"before": before.mean, "after": after.mean})
    return DemoRun(
        options=options,
        config=cfg,
        before=before,
        after=after,
        timings=watch.timings,
        overlays=overlays,
        label_figures=[labels_start, labels_end],
        curves=curves,
        facts=_facts(trainer, options),
    )


def _demo_config(options: DemoOptions) -> CfgNode:
    if options.steps is not None and options.steps < 1:
        raise InputError(f"--steps {options.steps}", "at least 1 step is needed")
    if options.seed < 0:
        raise InputError(f"--seed {options.seed}", "a seed is 0 or above")
    cfg = load_config(str(options.config_file), options.overrides)
    if options.steps is not None:
        cfg.SOLVER.MAX_ITER = options.steps
    cfg.TEST.EVAL_PERIOD = max(1, cfg.SOLVER.MAX_ITER // EVALUATIONS)
    cfg.SEED = options.seed
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (TRAIN_NAME,), (VAL_NAME,)
    cfg.OUTPUT_DIR = str(options.output / "training")
    cfg.freeze()
    return cfg


def _clear_folder(folder: Path) -> None:
    try:
        if folder.is_dir() and any(folder.iterdir()):
            if not (folder / MARKER).is_file():
                raise InputError(
                    folder, "is not empty and no demo wrote it; choose another --output"
                )
            for entry in folder.iterdir():
                if entry.name == MARKER:
                    continue
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                else:
                    entry.unlink()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MARKER).touch()
    except OSError as error:
        raise InputError(folder, f"cannot be written ({error.strerror})") from error


def _start_log(cfg: CfgNode) -> None:
    folder = Path(cfg.OUTPUT_DIR)
    folder.mkdir(parents=True, exist_ok=True)
    logging.captureWarnings(True)
    for name in LOGGERS:
        setup_logger(str(folder), name=name, configure_stdout=False)
    (folder / "config.yaml").write_text(cfg.dump(), encoding="utf-8")
    seed_all_rng(cfg.SEED)


def _write_dataset(options: DemoOptions) -> None:
    splits = write_synthetic_dataset(
        options.output / "data",
        options.seed,
        train=options.train_images,
        val=options.val_images,
        size=options.size,
    )
    for name, split in ((TRAIN_NAME, "train"), (VAL_NAME, "val")):
        register_nuclei_instances(name, splits[split].json_file, splits[split].image_root)


def _draw_labels(trainer: SelfSAMTrainer, path: Path, when: str) -> Path:
    views = view_training_crops(
        unwrap(trainer.model), trainer.schedule, trainer.mapper, LABEL_CROPS
    )
    draw_label_figure(views, path, title=f"Training crops {when}")
    return path


def _draw_overlays(before: Evaluation, after: Evaluation, folder: Path) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = []
    for record in DatasetCatalog.get(VAL_NAME):
        stem = Path(record["file_name"]).stem
        path = folder / f"{stem}.png"
        draw_comparison(
            read_image(record["file_name"]),
            annotations_to_map(record["annotations"], record["height"], record["width"]),
            {
                f"{when} training: AJI {run.images[stem]['AJI'] or 0:.2f}": run.maps[stem]
                for when, run in (("before", before), ("after", after))
            },
            path,
        )
        paths.append(path)
    return paths


def _facts(trainer: SelfSAMTrainer, options: DemoOptions) -> dict[str, str]:
    records = trainer.schedule.records
    return {
        "training images": f"{len(records)} of {options.size} x {options.size} px, points only",
        "points": str(sum(len(record["annotations"]) for record in records)),
        "validation images": f"{options.val_images}, masks for scoring only",
        "steps": f"{trainer.max_iter} of {trainer.cfg.SOLVER.IMS_PER_BATCH} crop(s), "
        f"{trainer.epochs} epoch(s)",
        "seed": str(options.seed),
        "device": trainer.cfg.MODEL.DEVICE,
        "base weights": trainer.cfg.MODEL.WEIGHTS or "none",
    }
