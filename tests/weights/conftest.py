"""A small file server on the loopback address that can misbehave in the ways servers do."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@dataclass
class FileServer:
    """What is served, and how.

    Attributes:
        content: the file.
        cut_after: bytes after which an answer ends early, for the first ``cuts`` answers.
        hang: never answer.
        ranges: whether ``Range`` is understood.
        etag: value of the ``ETag`` header, none if empty.
        asked: ``Range`` header of each request so far.
    """

    url: str = ""
    content: bytes = b""
    cut_after: int = 0
    cuts: int = 0
    hang: bool = False
    ranges: bool = True
    etag: str = '"one"'
    status: int = 200
    asked: list[str | None] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)


def answer(handler: BaseHTTPRequestHandler, plan: FileServer) -> None:
    asked = handler.headers.get("Range")
    plan.asked.append(asked)
    if plan.hang:
        plan.release.wait(5)
        return
    if plan.status != 200:
        handler.send_error(plan.status)
        return
    start = 0
    same_version = handler.headers.get("If-Range") in (None, plan.etag)
    if asked and plan.ranges and same_version:
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
    if start >= len(plan.content) > 0:
        handler.send_error(416)
        return
    body = plan.content[start:]
    handler.send_response(206 if start else 200)
    if start:
        last = len(plan.content) - 1
        handler.send_header("Content-Range", f"bytes {start}-{last}/{len(plan.content)}")
    if plan.etag:
        handler.send_header("ETag", plan.etag)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    if plan.cuts:
        plan.cuts -= 1
        body = body[: plan.cut_after]
    handler.wfile.write(body)


@pytest.fixture
def file_server() -> Iterator[FileServer]:
    plan = FileServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self, plan)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    plan.url = f"http://127.0.0.1:{server.server_port}/weights.pth"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield plan
    plan.release.set()
    server.shutdown()
    server.server_close()
    thread.join()
