"""Download of one file over HTTP: resumable, checked, atomic, with a progress bar."""

from __future__ import annotations

import http.client
import logging
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from selfsam_d2.weights.cache import file_sha256, write_record

__all__ = ["DownloadError", "download"]

logger = logging.getLogger(__name__)

BLOCK_BYTES = 1 << 18
CONNECT_TIMEOUT_S = 20.0
MAX_ATTEMPTS = 4
PARTIAL_CONTENT = 206
RANGE_NOT_SATISFIABLE = 416


class DownloadError(Exception):
    """Why one source could not be used; the caller goes on with the next one."""


class _InterruptedError(Exception):
    """The connection ended before the file did; what has arrived is kept."""


class _UnfitPartError(Exception):
    """The server has nothing to add to the part."""


def _part_path(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


def _validator_path(target: Path) -> Path:
    return target.with_name(f"{target.name}.part.validator")


def _discard_part(target: Path) -> None:
    _part_path(target).unlink(missing_ok=True)
    _validator_path(target).unlink(missing_ok=True)


def _request(url: str, target: Path, trusted: bool) -> urllib.request.Request:
    """A request for what is missing of the file.

    Args:
        trusted: the content is known by its hash, so a part may be continued even if the server
            names no version of the file.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "selfsam_d2"})
    part, validator = _part_path(target), _validator_path(target)
    have = part.stat().st_size if part.is_file() else 0
    version = validator.read_text(encoding="utf-8") if validator.is_file() else ""
    if have and (version or trusted):
        request.add_header("Range", f"bytes={have}-")
        if version:
            request.add_header("If-Range", version)
    return request


@contextmanager
def _opened(request: urllib.request.Request, timeout: float) -> Iterator[Any]:
    """The server's answer; refusals become :class:`DownloadError`."""
    try:
        response = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == RANGE_NOT_SATISFIABLE:
            raise _UnfitPartError from error
        raise DownloadError(f"the server answered {error.code} {error.reason}") from error
    except (TimeoutError, urllib.error.URLError) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, TimeoutError):
            raise DownloadError(f"no answer within {timeout:g} s") from error
        raise DownloadError(f"not reachable ({reason})") from error
    except (http.client.HTTPException, OSError, ValueError) as error:
        raise DownloadError(f"not reachable ({error!r})") from error
    with response:
        yield response


def _version(headers: Any) -> str:
    """What If-Range may name: a strong ETag, else the date of change."""
    tag = headers.get("ETag", "")
    return str(tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", ""))


def _receive(url: str, target: Path, timeout: float, trusted: bool) -> None:
    """Append what is missing to the part of the file.

    Raises:
        DownloadError: the server refuses or cannot be reached.
        _InterruptedError: the connection ended early.
    """
    try:
        _append(_request(url, target, trusted), target, timeout)
    except _UnfitPartError as error:
        # The whole file may be there already, but only a fresh start can tell.
        _discard_part(target)
        raise _InterruptedError("the part did not fit") from error


def _append(request: urllib.request.Request, target: Path, timeout: float) -> None:
    part = _part_path(target)
    with _opened(request, timeout) as response:
        have = _first_byte(response)
        if have and have != part.stat().st_size:
            raise _UnfitPartError
        length = response.headers.get("Content-Length", "")
        total = have + int(length) if length.isdigit() else None
        _validator_path(target).write_text(_version(response.headers), encoding="utf-8")
        _write_blocks(response, part, have, total)
        if total is not None and part.stat().st_size < total:
            raise _InterruptedError(f"only {part.stat().st_size} of {total} bytes came")


def _first_byte(response: Any) -> int:
    """Position in the file at which the answer starts: 0 unless it continues a part."""
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(match[1]) if response.status == PARTIAL_CONTENT and match else 0


def _write_blocks(response: Any, part: Path, have: int, total: int | None) -> None:
    bar = tqdm(
        total=total,
        initial=have,
        desc=part.stem,
        unit="B",
        unit_scale=True,
        disable=not sys.stderr.isatty(),
    )
    with bar, part.open("ab" if have else "wb") as stream:
        while True:
            try:
                block = response.read(BLOCK_BYTES)
            except (OSError, http.client.HTTPException) as error:
                raise _InterruptedError(f"the connection broke ({error})") from error
            if not block:
                return
            stream.write(block)
            bar.update(len(block))


def _complete(url: str, target: Path, timeout: float, trusted: bool) -> None:
    """Receive until the part is whole, going on after an interruption that brought something."""
    part = _part_path(target)
    reason = ""
    for _ in range(MAX_ATTEMPTS):
        before = part.stat().st_size if part.is_file() else 0
        try:
            return _receive(url, target, timeout, trusted)
        except _InterruptedError as error:
            reason = str(error)
            if part.is_file() and part.stat().st_size == before:
                break
            logger.info("%s: %s; going on from there", url, reason)
    raise DownloadError(reason)


def _received_sha256(url: str, target: Path, sha256: str | None, timeout: float) -> str:
    """Receive the whole part and hash it; a part with another hash than asked for is removed."""
    part = _part_path(target)
    if sha256 is not None and part.is_file() and file_sha256(part) == sha256:
        return sha256  # the earlier run was stopped just before the end
    _complete(url, target, timeout, trusted=sha256 is not None)
    found = file_sha256(part)
    if sha256 not in (None, found):
        _discard_part(target)
    return found


def download(
    url: str, target: Path, sha256: str | None = None, timeout: float = CONNECT_TIMEOUT_S
) -> Path:
    """Download a file; an earlier, interrupted download of it is continued.

    The bytes are collected in ``<target>.part`` and moved to ``target`` when they are complete
    and, if a hash is given, right.

    Args:
        url: an ``http`` or ``https`` address.
        target: the file to make; its folder exists.
        sha256: SHA-256 that the content must have, in hexadecimal.
        timeout: longest wait in s for the connection and for each piece of the answer.

    Returns:
        ``target``.

    Raises:
        DownloadError: the source cannot be reached, ends early or sends something else.
    """
    was_continued = _part_path(target).is_file()
    found = _received_sha256(url, target, sha256, timeout)
    if was_continued and sha256 not in (None, found):
        # The part was of other content, so the source is given a fresh start.
        found = _received_sha256(url, target, sha256, timeout)
    if sha256 not in (None, found):
        raise DownloadError(f"its sha256 is {found}, expected {sha256}")
    _part_path(target).replace(target)
    _discard_part(target)
    write_record(target, found, url)
    return target
