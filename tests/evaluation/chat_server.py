"""A real server on this machine that speaks OpenAI's chat form, also one that misbehaves."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

BROKEN = {"no json": b"<html>", "no choices": b'{"choices": []}'}


class Server(ThreadingHTTPServer):
    """Answers what stands in the text itself, or `answers` in turn; keeps what it was asked."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[dict[str, Any], dict[str, str]]] = []
        self.ended = threading.Event()
        self.answers: Iterator[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    """`yes`, or any other text, is sent back; `status 500`, `hang` and the like are done."""

    @property
    def home(self) -> Server:
        return cast(Server, self.server)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.home.seen.append((body, {**self.headers, "path": self.path}))
        asked = body["messages"][0]["content"].rpartition("TEXT:")[2]
        asked = asked if self.home.answers is None else next(self.home.answers)
        if asked == "hang":
            self.home.ended.wait(5)
        elif asked == "drip":
            self._drip()
        elif asked == "once" and sum("once" in str(b["messages"]) for b, _ in self.home.seen) < 2:
            self._send(503, b"")
        elif asked == "elsewhere":
            self._send(307, b"", Location=f"{self.home.url}/stolen")
        elif asked.startswith("status "):
            said = {"error": {"message": f"no such\nmodel for {self.headers['Authorization']}"}}
            self._send(int(asked.split()[1]), json.dumps(said).encode())
        elif asked != "hang up":
            said = "Yes" if asked == "once" else asked
            told = json.dumps({"choices": [{"message": {"content": said}}]}).encode()
            self._send(200, BROKEN.get(asked, told))

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _drip(self) -> None:
        """A byte now and then: no single wait is long."""
        self.send_response(200)
        self.end_headers()
        while not self.home.ended.wait(0.05):
            self.wfile.write(b" ")
            self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed."""
        del format, args


@contextmanager
def served() -> Iterator[Server]:
    """A server that runs in the block."""
    running = Server()
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield running
    finally:
        running.ended.set()
        running.shutdown()
        thread.join()
        running.server_close()
