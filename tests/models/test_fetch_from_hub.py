"""Where the packages of a named model are not to be had, its published checkpoint is: a hub of one
model, served on this machine, is asked by the client of the real one."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from lens_steer.models import forward, load_model
from tests.conftest import Loader

NAME, COMMIT = "HuggingFaceTB/SmolLM2-135M-Instruct", "a" * 40


def answer_of(folder: Path, address: str) -> bytes | None:
    """What the hub answers about the model, or with a file of it; None where there is none."""
    path = address.split("?")[0]
    if path.startswith(f"/{NAME}/resolve/"):
        file = folder / path.rpartition("/")[2]
        return file.read_bytes() if file.is_file() else None
    if not path.startswith(f"/api/models/{NAME}"):
        return None
    files = sorted(folder.iterdir())
    if "/tree/" in path:
        sizes = [{"type": "file", "path": f.name, "size": f.stat().st_size} for f in files]
        return json.dumps([size | {"oid": "b" * 40} for size in sizes]).encode()
    about = {"id": NAME, "sha": COMMIT, "siblings": [{"rfilename": f.name} for f in files]}
    return json.dumps(about | {"tags": []}).encode()


@pytest.fixture
def hub(model_dirs: dict[str, Path]) -> Iterator[str]:
    """The address of a hub that has the tests' Llama under the name of SmolLM2."""

    class Hub(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            del format, args

        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def _answer(self) -> None:
            content = answer_of(model_dirs["llama"], self.path)
            self.send_response(404 if content is None else 200)
            if content is None:
                self.send_header("X-Error-Code", "EntryNotFound")
            content = content or b""
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_the_checkpoint_of_the_hub_is_brought_and_loaded(
    hub: str, tmp_path: Path, load: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    offline = {"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"}  # read once, so in another process
    environment = {name: value for name, value in os.environ.items() if name not in offline}
    environment |= {"HF_ENDPOINT": hub, "HF_HOME": str(tmp_path / "home"), "PIP_NO_INDEX": "1"}
    environment |= {"LENS_STEER_MODELS": str(tmp_path / "models"), "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-c", "from lens_steer.cli import main; main()"]
    done = subprocess.run(
        [*command, "fetch", "--models", "smollm2"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith(f"from the hub ({NAME}), as it was published")
    monkeypatch.setenv("LENS_STEER_MODELS", str(tmp_path / "models"))
    tokens = torch.arange(9)[None]
    ours = forward(load_model("smollm2", device="cpu"), tokens)
    assert torch.equal(ours, forward(load("llama"), tokens))
