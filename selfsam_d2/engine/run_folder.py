"""The folder of one run of the queue: with which settings and code it is trained, how long."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfsam_d2.engine.experiments import differing
from selfsam_d2.engine.folder_lock import locked
from selfsam_d2.errors import InputError
from selfsam_d2.evaluation.summary import write_json
from selfsam_d2.files import parse_json

__all__ = [
    "PREDICTION_KEYS",
    "begin_run",
    "check_run",
    "commits_of_trained",
    "git_commit",
    "has_checkpoint",
    "read_seconds",
    "write_seconds",
]

# Beginnings of the keys that a trained model can be evaluated with, however it was trained.
PREDICTION_KEYS = ("INFERENCE.", "POSTPROCESS.", "TEST.", "DATASETS.TEST")
SETTINGS = "settings.json"
CLOCK = "seconds.json"
ROOT = Path(__file__).parents[2]


def has_checkpoint(folder: Path) -> bool:
    """Whether a training in a folder goes on where an earlier one stopped."""
    return (folder / "last_checkpoint").is_file()


def check_run(folder: Path, settings: Mapping[str, Any]) -> None:
    """Whether a run with some settings can begin or go on in a folder now.

    Args:
        folder: of the run; need not be there.
        settings: of :meth:`selfsam_d2.engine.experiments.Experiment.settings`.

    Raises:
        InputError: a training holds it, or what it goes on from has other settings.
    """
    if folder.is_dir():
        with locked(folder):
            _read_begun(folder, settings)


def begin_run(folder: Path, settings: Mapping[str, Any]) -> str | None:
    """Keep the settings and the code of a run in its folder, before it is started.

    Args:
        folder: of the run, locked.
        settings: see :func:`check_run`.

    Returns:
        git revision of the code, of each start where they differ; None: unknown for all.

    Raises:
        InputError: see :func:`check_run`.
    """
    commits = _read_begun(folder, settings)
    commit = git_commit(ROOT)
    if commits[-1:] != [commit]:
        commits.append(commit)
    write_json(folder / SETTINGS, {"settings": dict(settings), "commits": commits})
    return _joined(commits)


def commits_of_trained(folder: Path, settings: Mapping[str, Any]) -> str | None:
    """Code that a finished run was trained with, if it was the training of some settings.

    Args:
        folder: of the run.
        settings: see :func:`check_run`; those of ``PREDICTION_KEYS`` are not compared.

    Returns:
        see :func:`begin_run`.

    Raises:
        InputError: it was trained with other settings.
    """
    return _joined(_read_begun(folder, settings, but=PREDICTION_KEYS))


def _joined(commits: list[str | None]) -> str | None:
    return ", ".join(each or "unknown" for each in commits) if any(commits) else None


def _read_begun(
    folder: Path, settings: Mapping[str, Any], but: tuple[str, ...] = ()
) -> list[str | None]:
    """Revisions of the starts that a run goes on from, if their settings were these.

    Keys that begin as one of ``but`` are not compared.
    """
    if not has_checkpoint(folder):
        return []
    path = folder / SETTINGS
    if not path.is_file():
        return [None]  # begun by train_net.py, or before settings were kept
    try:
        begun = parse_json(path.read_text(encoding="utf-8"))
        before, commits = begun["settings"], begun["commits"]
        if not isinstance(before, dict) or not _are_commits(commits):
            raise ValueError("no settings and commits")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(path, f"cannot be read ({error}); delete the folder") from error
    before, asked = (
        {key: value for key, value in each.items() if not key.startswith(but)}
        for each in (before, settings)
    )
    if before != asked:
        raise InputError(
            folder,
            f"was begun with another {differing(before, asked)}; delete it or change --output",
        )
    return list(commits)


def _are_commits(value: Any) -> bool:
    return isinstance(value, list) and all(each is None or isinstance(each, str) for each in value)


def git_commit(root: Path) -> str | None:
    """Revision of a working tree, ``-dirty`` behind it where a known file was changed.

    Args:
        root: topmost folder of the tree.

    Returns:
        40 hexadecimal digits; None where there is no git, or root is not the top of a tree of its
        own: that of a package installed below somebody's repository says nothing about it.
    """
    top = _git(root, "rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != root.resolve():
        return None
    return _git(root, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _git(root: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(root), *arguments]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()


def read_seconds(folder: Path) -> float:
    """Time that earlier starts of a run took; 0 for a run that begins anew.

    Raises:
        InputError: the file cannot be read.
    """
    if not has_checkpoint(folder) or not (folder / CLOCK).is_file():
        return 0.0
    try:
        return float(parse_json((folder / CLOCK).read_text(encoding="utf-8"))["seconds"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise InputError(folder / CLOCK, f"cannot be read ({error}); delete the folder") from error


def write_seconds(folder: Path, seconds: float) -> None:
    """Keep the time that all starts of a run took.

    Raises:
        InputError: the file cannot be written.
    """
    write_json(folder / CLOCK, {"seconds": seconds})
