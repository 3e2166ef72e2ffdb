"""A loss or weight that is not finite ends a training before it is saved."""

import os
import signal
from types import SimpleNamespace

import pytest
import torch
from detectron2.structures import Boxes, Instances
from torch import nn

from selfsam_d2.engine.finite_loss_hook import (
    BATCH_FILE,
    FiniteLossHook,
    non_finite_weights,
    plain,
)
from selfsam_d2.engine.trainer import SelfSAMTrainer
from selfsam_d2.errors import NonFiniteLossError


class Brightness(nn.Module):
    """Its losses are means over the images."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, batch):
        mean = torch.stack([sample["image"].mean() for sample in batch]).mean() * self.weight
        return {"loss_a": mean, "loss_b": torch.ones(()) * self.weight}


def guarded(tmp_path):
    """A model under the hook, in training."""
    model = Brightness().train()
    hook = FiniteLossHook(tmp_path)
    hook.trainer = SimpleNamespace(model=model, iter=6)
    hook.before_train()
    return model, hook


def sample(name, value):
    return {"file_name": name, "image": torch.full((3, 2, 2), value)}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_term_image_and_step_are_named_and_the_batch_is_kept(tmp_path, value):
    model, _ = guarded(tmp_path)
    with pytest.raises(NonFiniteLossError) as error:
        model([sample("good.png", 1.0), sample("bad.png", value), sample("fine.png", 2.0)])
    message = str(error.value)
    assert message.startswith(f"step 7: loss_a is {value}, of bad.png; the batch lies in")
    assert "good.png" not in message
    assert "--resume" in message
    kept = torch.load(tmp_path / BATCH_FILE, weights_only=True)
    assert kept["iteration"] == 6
    assert kept["losses"]["loss_b"] == 1.0
    assert [each["file_name"] for each in kept["batch"]] == ["good.png", "bad.png", "fine.png"]
    assert kept["batch"][2]["image"].eq(2.0).all()


def test_all_images_are_named_where_none_is_at_fault_alone(tmp_path):
    model, _ = guarded(tmp_path)
    big = 3e38  # the sum of two of these is infinite
    with pytest.raises(NonFiniteLossError, match=r"of a\.png, b\.png;"):
        model(
            [{**sample("a.png", 1.0), "image": torch.full((1,), big)}] * 1
            + [{**sample("b.png", 1.0), "image": torch.full((1,), big)}]
        )


def test_evaluation_and_what_comes_after_the_training_are_left_alone(tmp_path):
    model, hook = guarded(tmp_path)
    bad = [sample("bad.png", float("nan"))]
    model.eval()
    model(bad)
    model.train()
    hook.after_train()
    model(bad)
    assert not (tmp_path / BATCH_FILE).exists()


def test_structures_are_kept_as_tensors():
    instances = Instances((4, 5), gt_boxes=Boxes(torch.ones(2, 4)), gt_classes=torch.zeros(2))
    found = plain({"instances": instances, "transform": object, "size": (4, 5), "id": 3})
    assert found["instances"]["image_size"] == [4, 5]
    assert found["instances"]["gt_boxes"].shape == (2, 4)
    assert found["size"] == [4, 5]
    assert found["id"] == 3
    assert isinstance(found["transform"], str)


def test_a_batch_that_cannot_be_kept_does_not_take_the_place_of_the_loss(tmp_path):
    model, hook = guarded(tmp_path)
    hook.folder = tmp_path / "file" / "run"
    (tmp_path / "file").touch()
    line = r"^step 7: loss_a is nan, of b\.png; the batch is not kept, .*file.*; look at that image"
    with pytest.raises(NonFiniteLossError, match=line):
        model([sample("b.png", float("nan"))])


def test_a_training_stops_within_the_step_and_keeps_its_weights(small_config, tmp_path, caplog):
    trainer = SelfSAMTrainer(small_config("SOLVER.MAX_ITER", "9"))
    trainer.resume_or_load(resume=False)
    model = trainer.model
    with torch.no_grad():
        next(model.nuclei_head.parameters()).fill_(float("nan"))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(NonFiniteLossError, match=r"^step 1: .*loss_foreground is nan"):
        trainer.train()
    after = model.state_dict()
    assert all(torch.equal(after[n], b) or b.isnan().any() for n, b in before.items())
    assert "Traceback" not in caplog.text
    assert "Exception during training" not in caplog.text
    kept = torch.load(tmp_path / "run" / BATCH_FILE, weights_only=True)
    assert kept["batch"][0]["points"].shape[1] == 2


def poisoned(cfg, step, *, resume=False, ask=False):
    """A trainer whose gradient of one weight is not finite in a step, perhaps asked to stop."""
    trainer = SelfSAMTrainer(cfg, resume=resume)
    trainer.resume_or_load(resume=resume)
    weight = next(each for each in trainer.model.nuclei_head.parameters() if each.requires_grad)

    def plant(gradient):
        if trainer.iter != step:
            return gradient
        if ask:
            os.kill(os.getpid(), signal.SIGTERM)
        return torch.full_like(gradient, float("nan"))

    weight.register_hook(plant)
    return trainer


def saved(folder):
    """Name -> whether all weights of the checkpoint are finite."""
    files = {path.name: torch.load(path, weights_only=True) for path in folder.glob("model*.pth")}
    return {
        name: all(value.isfinite().all() for value in content["model"].values())
        for name, content in files.items()
    }


def test_a_gradient_that_is_not_finite_is_in_no_checkpoint(small_config, tmp_path):
    folder = tmp_path / "run"
    every_two = ("SOLVER.CHECKPOINT_PERIOD", "2", "SELF_REFINE.HISTORY_CROPS", "0")
    keys = ("SOLVER.MAX_ITER", "6", *every_two)
    line = r"^step 4: weights became NaN or infinite \(nuclei_head\.\S+\), .*\.png was finite; .*"
    with pytest.raises(NonFiniteLossError, match=line):
        poisoned(small_config(*keys), 3).train()
    assert saved(folder) == {"model_0000001.pth": True}
    assert (folder / "last_checkpoint").read_text() == "model_0000001.pth"
    kept = torch.load(folder / BATCH_FILE, weights_only=True)
    assert kept["iteration"] == 3
    assert torch.tensor(list(kept["losses"].values())).isfinite().all()
    trainer = poisoned(small_config(*keys), -1, resume=True)
    assert trainer.start_iter == 2
    trainer.train()
    assert saved(folder)["model_final.pth"]


@pytest.mark.parametrize("ask", [False, True], ids=["the last step", "and SIGTERM in it"])
def test_the_last_step_is_no_exception(small_config, tmp_path, monkeypatch, ask):
    folder = tmp_path / "run"
    keys = ("SOLVER.MAX_ITER", "3", "TEST.EVAL_PERIOD", "10")
    trainer = poisoned(small_config(*keys), 2, ask=ask)
    # A better score than ever, were it evaluated.
    monkeypatch.setattr(trainer, "test", lambda *_: {"nuclei": {"AJI": 100.0}})
    with pytest.raises(NonFiniteLossError, match=r"^step 3: weights became"):
        trainer.train()
    assert saved(folder) == {}
    assert not (folder / "last_checkpoint").exists()


def test_weights_are_named_and_large_ones_are_finite():
    weights = {
        "large": nn.Parameter(torch.full((4,), 3e38)),  # their squares are infinite
        "half": nn.Parameter(torch.ones(2, dtype=torch.half)),
        "nan": nn.Parameter(torch.tensor([1.0, float("nan"), float("inf")])),
        "inf": nn.Parameter(torch.tensor([[-float("inf")]])),
    }
    assert non_finite_weights(weights) == ["nan", "inf"]
    assert non_finite_weights({name: weights[name] for name in ("large", "half")}) == []
    assert non_finite_weights({}) == []


def test_a_step_that_is_left_out_for_its_gradients_is_none_to_stop_at(tmp_path):
    model, hook = guarded(tmp_path)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu")
    model.weight.register_hook(lambda gradient: gradient * float("inf"))
    scaler.scale(sum(model([sample("a.png", 1.0)]).values())).backward()
    scaler.step(optimizer)
    scaler.update()
    hook.after_step()
    optimizer.step()
    with pytest.raises(NonFiniteLossError, match=r"^step 7: .*\(weight\), though each loss of a"):
        hook.after_step()
