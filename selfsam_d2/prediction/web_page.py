"""The page of ``tools/app.py``: an image is dropped, nuclei are drawn, clicks are points."""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from selfsam_d2.errors import InputError
from selfsam_d2.prediction.annotated_image import AnnotatedImage
from selfsam_d2.prediction.predictor import NucleiPredictor

__all__ = ["build_page", "launch_options", "load_gradio", "require_place", "serve"]

TITLE = "SelfSAM: nuclei"
# Runs of the model wait for each other: two at once take twice the memory and end no earlier.
ONE_AT_A_TIME = {"concurrency_limit": 1, "concurrency_id": "model"}
KEPT_SECONDS = 3600  # files of an upload or download
MAX_FILE_SIZE = "64mb"
SUFFIXES = [".png", ".jpg", ".jpeg", ".tif", ".tiff"]
FONTS = ("system-ui", "sans-serif")
# Gradio's page asks other hosts for fonts and scripts; a browser that is told this asks none.
POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)


def load_gradio() -> ModuleType:
    """Gradio, with its telemetry off.

    Raises:
        InputError: it cannot be imported.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio
    except ImportError as error:
        raise InputError(
            "the page", f"needs gradio, the extra `app` ({error}); python -m pip install '.[app]'"
        ) from error
    return gradio


def build_page(predictor: NucleiPredictor) -> Any:
    """The page as a ``gradio.Blocks``, for its ``launch`` with :func:`launch_options`.

    Raises:
        InputError: Gradio cannot be imported.
    """
    gradio = load_gradio()
    folder = tempfile.TemporaryDirectory(prefix="selfsam_d2_")
    with gradio.Blocks(
        title=TITLE, analytics_enabled=False, delete_cache=(KEPT_SECONDS, KEPT_SECONDS)
    ) as page:
        opened = gradio.State()
        gradio.Markdown(
            f"# {TITLE}\nDrop an H&E image. Yellow: nuclei that the model finds. A click on the "
            "image is a point: SAM outlines the nucleus there anew, in cyan, in place of the "
            "yellow one."
        )
        upload = gradio.File(
            label="Image (PNG, JPEG or TIFF)", file_types=SUFFIXES, elem_id="upload", height=120
        )
        status = gradio.Markdown("No image yet.", elem_id="status")
        view = gradio.Image(
            label="Nuclei", interactive=False, format="png", elem_id="view", buttons=["fullscreen"]
        )
        with gradio.Row():
            clear = gradio.Button("Clear points", elem_id="clear")
            download = gradio.DownloadButton("Download GeoJSON", elem_id="download")
        shown = [opened, view, status, download]
        act = _actions(gradio, predictor, Path(folder.name))
        upload.upload(act["open"], [upload], shown, **ONE_AT_A_TIME)
        upload.clear(act["close"], None, shown)
        view.select(act["click"], [opened], shown, **ONE_AT_A_TIME)
        clear.click(act["clear"], [opened], shown, **ONE_AT_A_TIME)
    # It lives as long as the page, and goes with it.
    page.folder = folder
    return page


def launch_options(gradio: ModuleType) -> dict[str, Any]:
    """What ``launch`` is given beside host and port: nothing is shared, nothing is asked for."""
    from starlette.middleware import Middleware

    return {
        "share": False,
        "inbrowser": False,
        "quiet": True,
        "ssr_mode": False,
        "mcp_server": False,
        "pwa": False,
        "run_history": False,
        "enable_monitoring": False,
        "footer_links": [],
        "max_file_size": MAX_FILE_SIZE,
        "theme": gradio.themes.Default(font=FONTS, font_mono=("monospace",)),
        "app_kwargs": {"middleware": [Middleware(_WithPolicy)]},
    }


def require_place(host: str, port: int) -> None:
    """Check that the page can listen there, before a model is loaded for it.

    Args:
        host: name or address of this machine.
        port: 1 to 65535.

    Raises:
        InputError: it cannot; the message tells which of the two is at fault.
    """
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        family, _, _, _, place = found[0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        if getattr(error, "errno", None) in (errno.EADDRINUSE, errno.EACCES):
            raise InputError(
                f"--port {port}", f"cannot be listened on ({reason}); try another --port"
            ) from error
        raise InputError(
            f"--host {host}",
            f"is no address of this machine ({reason}); 127.0.0.1 is for this machine alone, "
            "0.0.0.0 for all that can reach it",
        ) from error


def serve(page: Any, address: str) -> None:
    """Say where the page is, and wait until Ctrl+C ends it, which is no error.

    Args:
        page: launched without a thread of its own that waits.
        address: of it.
    """
    try:
        sys.stdout.write(f"open {address} in a browser; leave this terminal open; Ctrl+C ends\n")
        sys.stdout.flush()
        while page.is_running:
            time.sleep(0.1)
    except KeyboardInterrupt:
        sys.stdout.write("stopped\n")
        page.close(verbose=False)


class _WithPolicy:
    """ASGI middleware: the content security policy on every answer."""

    def __init__(self, app: Callable[..., Any]) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def answer(message: Any) -> None:
            if message["type"] == "http.response.start":
                header = (b"content-security-policy", POLICY.encode("ascii"))
                message = {**message, "headers": [*message.get("headers", []), header]}
            await send(message)

        await self.app(scope, receive, answer)


def _actions(
    gradio: ModuleType, predictor: NucleiPredictor, folder: Path
) -> dict[str, Callable[..., Any]]:
    """What the page does: each gives the image with its nuclei, drawing, status and file."""

    def show(image: AnnotatedImage | None) -> tuple[Any, ...]:
        if image is None:
            return None, None, "No image yet.", None
        return image, image.drawing(), image.summary(), _write_geojson(image, folder)

    def open_image(path: str | None) -> tuple[Any, ...]:
        try:
            return show(None if path is None else AnnotatedImage(predictor, path))
        except InputError as error:
            raise gradio.Error(_short(error, path), title="This image cannot be used") from error

    def click(image: AnnotatedImage | None, event: Any) -> tuple[Any, ...]:
        if image is not None:
            try:
                image.add_point(event.index[0] + 0.5, event.index[1] + 0.5)
            except InputError as error:
                raise gradio.Error(str(error), title="No points") from error
        return show(image)

    def clear(image: AnnotatedImage | None) -> tuple[Any, ...]:
        if image is not None:
            image.clear_points()
        return show(image)

    # Gradio hands a click over by the type that is written at the argument.
    click.__annotations__["event"] = gradio.SelectData
    return {"open": open_image, "close": lambda: show(None), "click": click, "clear": clear}


def _short(error: InputError, path: str | None) -> str:
    """The message with the name of the file that was dropped in place of where it was put."""
    return str(error) if path is None else str(error).replace(path, Path(path).name)


def _write_geojson(image: AnnotatedImage, folder: Path) -> str:
    # A folder for each: two people may drop images of one name. Gradio hands out a copy, so that
    # the folder may serve another image when this one is gone.
    path = folder / str(id(image)) / f"{Path(image.name).stem}.geojson"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(image.to_geojson(), allow_nan=False), encoding="utf-8")
    return str(path)
