"""A small stand-in for the Hugging Face Hub: one model's files over HTTP, with a download that can be cut off."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

COMMIT = "a" * 40


class Hub:
    """Where it listens, how fast it sends, and after how many bytes of a file the connection dies; None: never."""

    def __init__(self) -> None:
        self.url = ""
        self.dies_after: int | None = None
        self.bytes_per_second: float | None = None
        self.asked: list[str] = []


@contextmanager
def hub(name: str, folder: Path) -> Iterator[Hub]:
    """Serve the files of ``folder`` as the model ``name``."""
    state = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, *, body: bool) -> None:
            path = self.path.partition("?")[0]
            state.asked.append(path)
            file = folder / path.rsplit("/", 1)[-1]
            if not path.startswith(f"/{name}/resolve/") or not file.is_file():
                self._head(404, **{"X-Error-Code": "EntryNotFound", "Content-Length": 0})
                return
            content = file.read_bytes()
            start = int(self.headers.get("Range", "bytes=0-").split("=")[1].split("-")[0])
            part = content[start:]
            headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "Content-Length": len(part)}
            if start:
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self._head(206 if start else 200, **headers)
            if body and state.dies_after is not None and len(part) > state.dies_after:
                self.wfile.write(part[: state.dies_after])
                self.close_connection = True
            elif body:
                self._send(part)

        def _head(self, status: int, **headers: str | int) -> None:
            self.send_response(status)
            for header, value in {"X-Repo-Commit": COMMIT, **headers}.items():
                self.send_header(header, str(value))
            self.end_headers()

        def _send(self, part: bytes) -> None:
            size = len(part) if state.bytes_per_second is None else int(state.bytes_per_second / 10)
            try:
                for start in range(0, len(part), size):
                    self.wfile.write(part[start : start + size])
                    if start + size < len(part):
                        time.sleep(0.1)
            except OSError:  # nobody listens any more
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
