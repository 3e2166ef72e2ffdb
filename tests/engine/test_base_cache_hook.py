"""The base cache: same labels as the online form, made once, kept over a resume."""

from pathlib import Path

import numpy as np
import pytest
import torch

from selfsam_d2.data.transforms import AffineCropTransform
from selfsam_d2.engine.base_cache_hook import BaseCacheHook
from selfsam_d2.engine.checks import check_config
from selfsam_d2.engine.epochs import enter_epoch
from selfsam_d2.engine.trainer import SelfSAMTrainer
from selfsam_d2.errors import InputError
from selfsam_d2.modeling.base_masks import base_fingerprint, predict_base_masks
from selfsam_d2.modeling.sliding_window import window_grid

CACHED = ("SELF_REFINE.BASE_CACHE", "True")


def train(cfg, *, resume=False):
    trainer = SelfSAMTrainer(cfg)
    trainer.resume_or_load(resume=resume)
    trainer.train()
    return trainer


def window_sample(trainer, record, corner, side):
    """The training sample of a crop that equals a window: no augmentation."""
    y, x = corner
    transform = AffineCropTransform(np.array([[1.0, 0, -x], [0, 1.0, -y]]), (side, side))
    crop = transform.apply_image(trainer.mapper._read(record["file_name"]))
    return {
        "image_id": record["image_id"],
        **trainer.mapper.crop_inputs(record, crop, transform),
    }


@pytest.mark.parametrize(
    "limits", [(), ("PROMPT.SPACING_BOX", "False", "PSEUDO_LABEL.VORONOI", "False")]
)
def test_labels_of_a_crop_that_equals_a_window_are_those_of_the_online_form(small_config, limits):
    trainer = train(small_config(*CACHED, *limits, "SOLVER.MAX_ITER", "1"))
    model = trainer.model.eval()
    model.alpha = 0.6
    record = trainer.schedule.records[0]
    nuclei = 0
    for corner in window_grid(record["height"], record["width"], 64, 16):
        sample = window_sample(trainer, record, corner, 64)
        tokens = model.encode_prompts(sample)
        with torch.no_grad():
            base, adapted = model.backbone.forward_both(model.preprocess(sample["image"][None]))
            online, adapted = (
                model.prompt_logits(each["image_embedding"], tokens, (64, 64)).sigmoid()
                for each in (base, adapted)
            )
        blended = model.label_maker.blend(
            *(sample[name] for name in ("image", "points", "context_points")),
            base=online,
            adapted=adapted,
            alpha=model.alpha,
        )
        foreground = torch.rand(64, 64)
        expected = model.make_prompt_label(sample, online, adapted)
        found = model.make_prompt_label(sample, sample["base_masks"], adapted)
        # What is stored is rounded to half precision: only pixels on the brink may differ.
        sure = (expected.entropy - 0.3).abs() > 0.01
        for threshold in (0.2, 0.5):
            sure &= ((blended - threshold).abs() > 1e-3).all(dim=0)
        # A nucleus and its rival; a row of zeros where there is only one.
        first, second = torch.cat([blended, torch.zeros(2, 64, 64)]).topk(2, dim=0).values
        sure &= (first - second > 1e-3) | (first < 0.1)
        assert sure.float().mean() > 0.9
        both = [
            (each.raw_ids, each.labels, model.make_instance_label(each, foreground).labels)
            for each in (found, expected)
        ]
        for mine, theirs in zip(*both, strict=True):
            assert torch.equal(mine[sure], theirs[sure])
            assert (mine != theirs).float().mean() < 1e-3
        nuclei += len(expected.raw_ids[expected.raw_ids > 0].unique())
    assert nuclei > 5


@pytest.mark.parametrize(
    ("keys", "alpha"),
    [
        (("SELF_REFINE.ALPHA_SCHEDULE", "step"), 0),
        (("PSEUDO_LABEL.REPROMPT", "True", "PSEUDO_LABEL.REPROMPT_START", "1"), 0.5),
    ],
)
def test_epochs_that_need_no_stored_mask_read_none(small_config, monkeypatch, keys, alpha):
    keys = (*keys, "SOLVER.EPOCHS", "2", "SOLVER.MAX_ITER", "0")
    trainer = SelfSAMTrainer(small_config(*CACHED, *keys))
    monkeypatch.setattr(trainer.base_cache, "crop_masks", lambda *_: np.zeros((1, 64, 64)))
    crops = trainer.schedule.crops_per_epoch
    first, second = (trainer.mapper(trainer.schedule[position]) for position in (0, crops))
    assert "base_masks" in first
    assert "base_masks" not in second
    enter_epoch(trainer.model, trainer.cfg, 1, 2)
    assert trainer.model.alpha == alpha
    assert torch.isfinite(sum(trainer.model.train()([second]).values()))


def test_the_step_runs_no_base_pass_and_learns_from_the_stored_masks(small_config, monkeypatch):
    keys = ("SOLVER.MAX_ITER", "3", "SELF_REFINE.HISTORY_CROPS", "0")
    trainer = SelfSAMTrainer(small_config(*CACHED, *keys))
    trainer.resume_or_load(resume=False)
    monkeypatch.setattr(trainer.model.backbone, "forward_both", None)
    decoded = []
    original = trainer.model.prompt_logits

    def count(*arguments):
        decoded.append(torch.is_grad_enabled())
        return original(*arguments)

    monkeypatch.setattr(trainer.model, "prompt_logits", count)
    trainer.train()
    # Before the training without a gradient, then once in each step.
    assert decoded.count(True) == 3
    assert trainer.model.label_statistics["empty_prompts"] < 1


def test_masks_are_kept_over_a_resume_and_made_again_for_other_points(small_config, tmp_path):
    train(small_config(*CACHED, "SOLVER.MAX_ITER", "2", "SOLVER.CHECKPOINT_PERIOD", "2"))
    folder = tmp_path / "run" / "base_masks"
    files = sorted(folder.glob("*.npz"))
    assert len(files) == 2
    made = [path.stat().st_mtime_ns for path in files]
    train(small_config(*CACHED, "SOLVER.MAX_ITER", "3"), resume=True)
    assert [path.stat().st_mtime_ns for path in files] == made
    # Half a file, as after a full disk, is made again.
    files[0].write_bytes(files[0].read_bytes()[:100])
    train(small_config(*CACHED, "SOLVER.MAX_ITER", "4"), resume=True)
    again = [path.stat().st_mtime_ns for path in files]
    assert again[0] != made[0]
    assert again[1] == made[1]
    train(small_config(*CACHED, "SOLVER.MAX_ITER", "5", "INPUT.NUCLEI.SHIFT", "3"), resume=True)
    assert [path.stat().st_mtime_ns for path in files] == again
    assert len(list(folder.glob("*.npz"))) == len(list(folder.glob("*.npy"))) == 4


def test_small_images_are_cached_in_the_frame_of_the_image(small_config):
    model = SelfSAMTrainer(small_config()).model.eval()
    image = torch.randint(0, 256, (3, 40, 64), dtype=torch.uint8)
    points = torch.tensor([[10.0, 5.0], [50.0, 30.0]])
    ((corner, inside, masks),) = predict_base_masks(
        model, image, points, image_id=1, window=64, overlap=16
    )
    assert corner == (-12, 0)
    assert inside.tolist() == [0, 1]
    assert masks.shape == (2, 64, 64)


def test_a_point_on_the_far_border_has_a_mask(small_config):
    # As shift noise clips it: less than the width in double precision, not in single.
    model = SelfSAMTrainer(small_config()).model.eval()
    image = torch.randint(0, 256, (3, 100, 128), dtype=torch.uint8)
    points = torch.tensor([[np.nextafter(128.0, 0), 50.0]], dtype=torch.double)
    windows = list(predict_base_masks(model, image, points, image_id=1, window=64, overlap=16))
    assert len(windows) > 0
    assert all(corner[1] == 64 for corner, _, _ in windows)


def test_epoch_refresh_has_no_use_for_the_cache(small_config):
    with pytest.raises(InputError, match=r"SELF_REFINE\.REFRESH 'epoch'"):
        check_config(small_config(*CACHED, "SELF_REFINE.REFRESH", "epoch"))


def test_each_rank_makes_its_share_and_reads_all(small_config, tmp_path, monkeypatch):
    trainer = SelfSAMTrainer(small_config(*CACHED))
    (hook,) = (each for each in trainer._hooks if isinstance(each, BaseCacheHook))
    folder = tmp_path / "run" / "base_masks"
    monkeypatch.setattr("detectron2.utils.comm.get_world_size", lambda: 2)
    monkeypatch.setattr(
        "detectron2.utils.comm.all_gather",
        lambda own: [[0], [1]] if isinstance(own, list) else [own],
    )
    made = []
    for rank in range(2):
        monkeypatch.setattr("detectron2.utils.comm.get_rank", lambda rank=rank: rank)
        hook.before_train()
        made.append({path.name.split(".")[0] for path in folder.glob("*.npz")})
    stems = [Path(record["file_name"]).stem for record in hook.records]
    assert made == [{stems[0]}, set(stems)]
    assert all(trainer.base_cache.holds(record) for record in hook.records)


def test_what_is_missing_is_shared_out_whoever_finds_it(small_config, monkeypatch):
    (hook,) = (
        each
        for each in SelfSAMTrainer(small_config(*CACHED))._hooks
        if isinstance(each, BaseCacheHook)
    )
    hook.records = [{"image_id": number, "file_name": f"{number}.png"} for number in range(5)]
    hook.cache.keys = {record["file_name"]: "key" for record in hook.records}
    monkeypatch.setattr(hook.cache, "holds", lambda record: record["image_id"] not in (0, 4))
    monkeypatch.setattr("detectron2.utils.comm.get_world_size", lambda: 2)
    looked_at, shares = [], []

    def all_gather(own):
        looked_at.append(own)
        return [[0, 4], []]

    monkeypatch.setattr("detectron2.utils.comm.all_gather", all_gather)
    for rank in range(2):
        monkeypatch.setattr("detectron2.utils.comm.get_rank", lambda rank=rank: rank)
        shares.append(hook._share())
    assert looked_at == [[0, 4], []]
    assert shares == [[hook.records[0]], [hook.records[4]]]


@pytest.mark.parametrize(
    ("negatives", "choice", "same"),
    [(0, "random", True), (2, "nearest", True), (2, "random", False)],
)
def test_masks_depend_on_the_seed_only_where_it_draws_negatives(
    small_config, negatives, choice, same
):
    model = SelfSAMTrainer(small_config(*CACHED)).model
    model.prompter.num_negatives, model.prompter.negative_choice = negatives, choice
    before = base_fingerprint(model)
    model.seed += 1
    assert (base_fingerprint(model) == before) == same


def test_no_masks_are_stored_that_no_epoch_reads(small_config, tmp_path):
    always = ("PSEUDO_LABEL.REPROMPT", "True", "PSEUDO_LABEL.REPROMPT_START", "0")
    trainer = train(small_config(*CACHED, *always, "SOLVER.MAX_ITER", "1"))
    assert trainer.base_cache is None
    assert not list((tmp_path / "run").glob("base_masks/*"))
