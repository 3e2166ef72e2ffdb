"""Fill a model from a SAM file or from a checkpoint of this package, and say what was filled."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from selfsam_d2.errors import InputError
from selfsam_d2.modeling.backbone import SAMAdapterBackbone
from selfsam_d2.modeling.name_matching import BY_NAME, match_names
from selfsam_d2.modeling.nuclei_head import SAMNucleiHead
from selfsam_d2.modeling.prompter import Prompter
from selfsam_d2.modeling.trained_parts import (
    BACKBONE,
    BASE,
    BATCH_COUNTER,
    base_name,
    unpack_trained_parts,
)
from selfsam_d2.weights.resolve import first_differences, read_checkpoint, resolve_weights

__all__ = ["LoadReport", "is_sam_state", "load_checkpoint", "load_weights"]

logger = logging.getLogger(__name__)

SAM_ENCODER = "image_encoder."
SAM_PARTS = ("prompt_encoder.", "mask_decoder.")
PROMPTER = "prompter."


@dataclass(frozen=True)
class LoadReport:
    """What a file filled.

    Attributes:
        source: the file.
        loaded: keys of the model that were filled.
        not_loaded: keys of the model that keep their initial values.
        unused: keys of the file that the model has no use for.
    """

    source: str
    loaded: tuple[str, ...]
    not_loaded: tuple[str, ...]
    unused: tuple[str, ...]


def is_sam_state(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict is of a SAM file, so of nothing that this package has trained."""
    return any(key.startswith(SAM_ENCODER) for key in state)


def load_weights(model: nn.Module, path_or_name: str | Path) -> LoadReport:
    """Load weights given by path, URL or name into a model, in place.

    A SAM file (``mobile_sam``, official SAM checkpoints) fills every SAM part that the model has
    (encoder, prompt encoder, mask decoder) and starts the nuclei head from the mask decoder. A
    checkpoint of this package must fit the model key by key; a bare backbone takes its part, and so
    does that of a detector from a checkpoint of SelfSAM. A
    file of trained parts (``selfsam_monuseg_vitt``) names its base weights, which are loaded first.
    Weights of another network, which say ``matching_heuristics``, fill what they have names for in
    any model but SelfSAM.

    Args:
        model: :class:`SelfSAM`, a :class:`SAMAdapterBackbone`, or any model that contains one.
        path_or_name: a path, an ``http(s)`` URL or a name such as ``mobile_sam``.

    Raises:
        InputError: the file is missing, damaged or of another architecture, or holds values that
            are not finite; the message names the first keys that differ, or that key.
    """
    path = resolve_weights(str(path_or_name))
    return load_checkpoint(model, read_checkpoint(path), path)


def load_checkpoint(model: nn.Module, checkpoint: dict[str, Any], source: str | Path) -> LoadReport:
    """As :func:`load_weights`, for a checkpoint that is already read.

    Args:
        model: see there.
        checkpoint: of :func:`selfsam_d2.weights.resolve.read_checkpoint`.
        source: names it in messages.

    Raises:
        InputError: see there.
    """
    if checkpoint.get(BY_NAME) is True:
        if any(isinstance(module, Prompter) for module in model.modules()):
            # Its labels would come from a decoder that is untrained or of another encoder.
            raise InputError(
                source,
                "are of another network, and SelfSAM makes its labels by SAM; give a SAM file",
            )
        return _fill(model, *match_names(model.state_dict(), checkpoint, source), source)
    state = checkpoint["model"]
    if BASE in checkpoint:
        _load_base(model, base_name(checkpoint, source), source)
        state = unpack_trained_parts(model, checkpoint, str(source))
    return _load_state(model, state, source)


def _load_base(model: nn.Module, name: str, source: str | Path) -> None:
    """Load what a file of trained parts names as its base."""
    try:
        path = resolve_weights(name)
        checkpoint = read_checkpoint(path)
    except InputError as error:
        raise InputError(source, f"its base weights cannot be used: {error}") from error
    if BASE in checkpoint:  # which might name the first file again, without end
        raise InputError(source, f"its base {name} has a base of its own; give another file")
    _load_state(model, checkpoint["model"], path)


def _load_state(model: nn.Module, state: dict[str, Tensor], source: str | Path) -> LoadReport:
    own = model.state_dict()
    if is_sam_state(state):
        translated, required, used = _translate(model, state)
        unused = tuple(key for key in state if key not in used)
        _check({key: own[key] for key in own if key in required}, translated, source)
    elif places := _places_of_backbone(model, own, state):
        part = {
            key.removeprefix(BACKBONE): value
            for key, value in state.items()
            if key.startswith(BACKBONE)
        }
        translated = {prefix + key: value for prefix in places for key, value in part.items()}
        unused = tuple(key for key in state if not key.startswith(BACKBONE))
        wanted = {key: own[key] for key in own if key.startswith(places)}
        _check(_without_counters(wanted), _without_counters(translated), source)
    else:
        translated, unused = state, ()
        _check(_without_counters(own), _without_counters(translated), source)
    return _fill(model, translated, unused, source)


def _fill(
    model: nn.Module, translated: dict[str, Tensor], unused: tuple[str, ...], source: str | Path
) -> LoadReport:
    own = model.state_dict()
    _check_finite(own, translated, source)
    model.load_state_dict(translated, strict=False)
    report = LoadReport(
        source=str(source),
        loaded=tuple(key for key in own if key in translated),
        not_loaded=tuple(key for key in _without_counters(own) if key not in translated),
        unused=unused,
    )
    logger.info(
        "Loaded %d of %d tensors from %s; not in it, so they begin untrained: %s; not needed: %s",
        len(report.loaded),
        len(own),
        source,
        _summary(report.not_loaded),
        _summary(report.unused),
    )
    return report


def _places_of_backbone(
    model: nn.Module, own: dict[str, Tensor], state: dict[str, Tensor]
) -> tuple[str, ...]:
    """Prefixes of the backbones that take theirs from the checkpoint of another model."""
    places = tuple(
        f"{name}." if name else ""
        for name, module in model.named_modules()
        if isinstance(module, SAMAdapterBackbone)
    )
    if places == ("",):  # the model is a backbone
        return places if any(key.startswith(BACKBONE) for key in state) else ()
    # Only SelfSAM has a prompter: its checkpoint, for a detector on the same encoder.
    theirs, mine = (any(key.startswith(PROMPTER) for key in keys) for keys in (state, own))
    return places if theirs and not mine else ()


def _translate(
    model: nn.Module, state: dict[str, Tensor]
) -> tuple[dict[str, Tensor], set[str], set[str]]:
    # SAM's keys -> the model's; the keys that a SAM file must fill; the keys of the file in use.
    translated: dict[str, Tensor] = {}
    required: set[str] = set()
    used: set[str] = set()
    for name, module in model.named_modules():
        prefix = f"{name}." if name else ""
        if isinstance(module, SAMAdapterBackbone):
            encoder = {
                key.removeprefix(SAM_ENCODER): value
                for key, value in state.items()
                if key.startswith(SAM_ENCODER)
            }
            part = {
                f"encoder.{key}": value
                for key, value in module.encoder.rename_sam_keys(encoder).items()
            }
            wanted = {f"encoder.{key}" for key in module.encoder.state_dict()}
            used.update(
                SAM_ENCODER + key
                for key, value in encoder.items()
                if module.encoder.rename_sam_keys({key: value})
            )
        elif isinstance(module, Prompter):
            part = {key: value for key, value in state.items() if key.startswith(SAM_PARTS)}
            wanted = set(module.state_dict())
            used.update(part)
        elif isinstance(module, SAMNucleiHead):
            part = module.from_sam_keys(state)
            wanted = set(module.state_dict())
            used.update(key for key in state if key.startswith(SAM_PARTS))
        else:
            continue
        translated.update({prefix + key: value for key, value in part.items()})
        required.update(prefix + key for key in wanted if not key.endswith(BATCH_COUNTER))
    if not required:
        raise InputError(type(model).__name__, "has no part that a SAM file could fill")
    return translated, required, used


def _check(own: dict[str, Tensor], state: dict[str, Tensor], source: str | Path) -> None:
    differences = first_differences(own, state)
    if differences:
        raise InputError(
            source,
            f"holds another architecture than the model ({'; '.join(differences)}); "
            "choose weights of the model that the keys below MODEL describe",
        )


def _check_finite(own: dict[str, Tensor], state: dict[str, Tensor], source: str | Path) -> None:
    """A training would blame its first image, and a prediction end in a traceback."""
    for key, value in _without_counters(own).items():
        if key not in state:
            continue
        # In the model's precision, in which a large number may be infinite. A sum takes a tenth of
        # the time, and is finite where all are; that of large numbers may overflow.
        taken = state[key].to(value.dtype)
        if not taken.sum().isfinite() and not taken.isfinite().all():
            raise InputError(
                source, f"holds NaN or infinite values ({key}); give weights of an earlier step"
            )


def _without_counters(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if not key.endswith(BATCH_COUNTER)}


def _summary(keys: tuple[str, ...]) -> str:
    parts = sorted({key.split(".")[0] for key in keys})
    return f"{len(keys)} ({', '.join(parts)})" if keys else "none"
