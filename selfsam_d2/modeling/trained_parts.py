"""What a training changed, in a small file that names the base weights it belongs to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from selfsam_d2.errors import InputError
from selfsam_d2.modeling.backbone import SAMAdapterBackbone
from selfsam_d2.weights.catalog import CATALOG
from selfsam_d2.weights.resolve import URL_PREFIXES

__all__ = [
    "BACKBONE",
    "BASE",
    "BATCH_COUNTER",
    "base_digest",
    "base_name",
    "base_of_model",
    "pack_trained_parts",
    "unpack_trained_parts",
]

BASE = "base"  # key of a checkpoint under which a file of trained parts names its base weights
BACKBONE = "backbone."  # of a SelfSAM checkpoint
MOST_LETTERS = 500  # of a name of weights
FROZEN = ("backbone.encoder.", "prompter.")
# Counted by batch norms in training only; frozen ones never use it.
BATCH_COUNTER = "num_batches_tracked"


def base_digest(encoder: Mapping[str, Tensor]) -> str:
    """SHA-256 of the tensors of a frozen image encoder: names, then values as float32.

    Not of the file that they came from, whose bytes differ from one way of saving to another.

    Args:
        encoder: state dict of ``SAMAdapterBackbone.encoder``.
    """
    digest = hashlib.sha256()
    for key in sorted(encoder):
        if not key.endswith(BATCH_COUNTER):
            digest.update(key.encode())
            digest.update(encoder[key].detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def base_of_model(state: Mapping[str, Tensor]) -> str:
    """:func:`base_digest` of the encoder in the state dict of a whole SelfSAM."""
    return base_digest(
        {
            key.removeprefix(FROZEN[0]): value
            for key, value in state.items()
            if key.startswith(FROZEN[0])
        }
    )


def pack_trained_parts(
    state: Mapping[str, Tensor], base: str, notes: Mapping[str, Any]
) -> dict[str, Any]:
    """The content of a file of trained parts.

    Args:
        state: state dict of a SelfSAM.
        base: name of its base weights, of :data:`selfsam_d2.weights.catalog.CATALOG`.
        notes: kept beside them; numbers, texts and containers of them.

    Returns:
        ``model``: the tensors that are not frozen; ``base``: ``name``, and ``sha256`` of the
        image encoder, see :func:`base_digest`; ``notes``.
    """
    return {
        "model": {
            key: value.detach().clone()
            for key, value in state.items()
            if not key.startswith(FROZEN)
        },
        BASE: {"name": base, "sha256": base_of_model(state)},
        "notes": dict(notes),
    }


def base_name(checkpoint: Mapping[str, Any], source: str | Path) -> str:
    """The base weights that a file of trained parts names: of the catalog, or a path.

    Args:
        checkpoint: its content.
        source: names it in messages.

    Raises:
        InputError: it names none, or an address: a file is not to choose what is requested.
    """
    named = checkpoint[BASE]
    texts = [named.get(key) for key in ("name", "sha256")] if isinstance(named, Mapping) else [None]
    # Messages quote both.
    if not all(isinstance(each, str) and len(each) <= MOST_LETTERS for each in texts):
        raise InputError(source, f"its entry {BASE!r} does not name its base weights; get it again")
    name: str = named["name"]
    if name.startswith(URL_PREFIXES):
        raise InputError(
            source,
            f"names the address {name} as its base weights; only one of {', '.join(CATALOG)} or "
            "a path may stand there",
        )
    return name


def unpack_trained_parts(
    model: nn.Module, checkpoint: Mapping[str, Any], source: str
) -> dict[str, Tensor]:
    """The whole state dict for a model that holds the base weights already.

    Args:
        model: a SelfSAM, or a model with a :class:`SAMAdapterBackbone`, which takes the adapters.
        checkpoint: content of a file of trained parts.
        source: names the file in messages.

    Raises:
        InputError: the base weights are not those that the parts were trained on.
    """
    named, parts = checkpoint[BASE], checkpoint["model"]
    state = model.state_dict()
    if any(key.startswith(FROZEN[1]) for key in state):  # a SelfSAM takes everything, or refuses
        state = {key: value for key, value in state.items() if key.startswith(FROZEN)}
        state.update(parts)
    for name, module in model.named_modules():
        if isinstance(module, SAMAdapterBackbone):
            found = base_digest(module.encoder.state_dict())
            if found != named["sha256"]:
                raise InputError(
                    source,
                    f"was trained on other weights: {named['name']} with sha256 "
                    f"{named['sha256']}, but here it has {found}; fetch {named['name']} anew",
                )
            prefix = f"{name}." if name else ""
            state.update(
                (prefix + key.removeprefix(BACKBONE), value)
                for key, value in parts.items()
                if key.startswith(BACKBONE)
            )
    return state
