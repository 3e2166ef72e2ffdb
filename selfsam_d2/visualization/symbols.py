"""What the symbols of diagrams and tables of a training mean, in half a sentence each."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["explain"]

MEANINGS = {
    "L_P": "loss of the masks that the trained SAM draws for the points, against S_P",
    "L_B": "loss of the map of nuclei and background, which is predicted without points",
    "L_D": "loss of the HV maps, which are predicted without points, too",
    "HV": "horizontal and vertical distance of a pixel from the centre of its nucleus, by which "
    "nuclei that touch are told apart",
    "L_C": "contrast loss: low where the model tells nuclei from background that looks like them",
    "S_P": "prompt label: which pixels belong to the nucleus of which point, from SAM's masks of "
    "the points",
    "S_I": "instance label: S_P, improved by what the model finds without points where the config "
    "says so; it is what L_B and L_D learn from",
    "alpha": "weight in S_P of the masks of SAM as it came (base masks); the rest is the masks of "
    "the trained SAM",
    "ignored": "pixels whose label is in doubt, so that no loss counts them",
    "recovered": "pixels that are ignored in S_P, but not in S_I",
}
# Logged scalar -> what its curve or column names. Models that learn from masks have neither
# S_P nor S_I.
NAMED = {
    "loss_prompt": ("L_P", "S_P"),
    "loss_foreground": ("L_B",),
    "loss_distance": ("L_D", "HV"),
    "loss_contrast": ("L_C",),
    "alpha": ("alpha", "S_P"),
    "labels/prompt_ignored": ("S_P", "ignored"),
    "labels/instance_ignored": ("S_I", "S_P", "ignored"),
    "labels/recovered": ("recovered", "ignored", "S_P", "S_I"),
}


def explain(scalars: Iterable[str]) -> list[tuple[str, str]]:
    """Symbols and their meanings, in a fixed order.

    Args:
        scalars: names of what is drawn or listed, as in ``metrics.json``; those without a symbol
            are left out.
    """
    named = {symbol for scalar in scalars for symbol in NAMED.get(scalar, ())}
    return [(symbol, meaning) for symbol, meaning in MEANINGS.items() if symbol in named]
