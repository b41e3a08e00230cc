"""A `ci-egress` that keeps what it is given, and GitHub's service for artifacts."""

from __future__ import annotations

import base64
import json
import shutil
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class StandIn:
    """A `ci-egress` that keeps what it is given."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.path = folder / "ci-egress"
        shutil.copy(Path(__file__).with_name("stand_in.py"), self.path)
        self.path.chmod(0o755)
        self.says()
        self.summarises("a summary\n")

    def says(self, *words: object, watch: int = 0, doctor: int = 0) -> None:
        """What it says when it is ended, and how it ends."""
        lines = (word if isinstance(word, str) else json.dumps(word) for word in words)
        (self.path.parent / "words").write_text("".join(f"{line}\n" for line in lines))
        (self.path.parent / "watch.status").write_text(str(watch))
        (self.path.parent / "doctor.status").write_text(str(doctor))

    def summarises(self, text: str) -> None:
        """What it writes as the summary then."""
        (self.path.parent / "summary").write_text(text)

    def refuses(self, *lines: str) -> None:
        """What it says in place of beginning, with status 2."""
        (self.path.parent / "refuses").write_text("".join(f"{line}\n" for line in lines))

    @property
    def given(self) -> Any:
        """`argv` and `env` of `watch`; None before it was started."""
        path = self.path.parent / "given.json"
        return json.loads(path.read_text()) if path.exists() else None


class Results:
    """GitHub's service for artifacts, and the storage behind it."""

    def __init__(self, refusal: int = 0, moved_to: str = "") -> None:
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        results = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self._take()
                link = f"{results.url}/container/blob?sig=hidden"
                self._answer(
                    307 if moved_to else refusal or 200,
                    {"ok": True, "signed_upload_url": link, "artifact_id": "815"},
                )

            def do_PUT(self) -> None:
                self._take()
                self._answer(201, {})

            def _take(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                results.asked.append((self.path, headers, self.rfile.read(int(headers["content-length"]))))

            def _answer(self, status: int, message: dict[str, object]) -> None:
                body = json.dumps(message).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                if moved_to:
                    self.send_header("location", moved_to)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    @property
    def runtime(self) -> dict[str, str]:
        """What the runner gives an action so that it can use them."""
        claims = {"scp": "Actions.Example Actions.Results:run-1:job-2"}
        middle = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
        return {"ACTIONS_RESULTS_URL": f"{self.url}/", "ACTIONS_RUNTIME_TOKEN": f"head.{middle}.hidden"}
