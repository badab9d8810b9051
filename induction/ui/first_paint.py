"""What a browser paints before Gradio has mounted the page: the title, and then all of it at once.

Gradio mounts piece by piece and sends style sheets as data for its script, so what is painted on the way jumps.
``first_paint.html`` goes into the head of the page as it is served.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from induction.viz.theme import SANS

_SELECTED = b'"selected":"%s"'  # as Gradio writes which tab is open


class FirstPaint:
    """Middleware that adds to the head of the page and leaves every other answer as it is.

    Args:
        tabs: names of tabs; a link to one of them has it laid out at once, and not the first one before.
    """

    def __init__(self, app: ASGIApp, title: str, tabs: Collection[str]) -> None:
        text = Path(__file__).with_suffix(".html").read_text(encoding="utf-8")
        self._tabs = tabs
        self._app, self._added = app, text.replace("TITLE", title).replace("FONT", SANS).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in ("", "/") or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        start: Message = {}
        body = b""

        async def collect(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                start = message
                return
            body += message.get("body", b"")
            if message.get("more_body"):
                return
            whole = body.replace(b"</head>", self._added + b"</head>", 1)
            (wanted,) = parse_qs(scope["query_string"].decode("latin-1")).get("tab", [""])[:1]
            if wanted in self._tabs:
                whole = whole.replace(_SELECTED % b"scan", _SELECTED % wanted.encode(), 1)
            headers = [item for item in start["headers"] if item[0].lower() != b"content-length"]
            await send({**start, "headers": [*headers, (b"content-length", str(len(whole)).encode())]})
            await send({"type": "http.response.body", "body": whole})

        await self._app(scope, receive, collect)
