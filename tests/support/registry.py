"""A schema registry for tests: the REST paths that clients use, over real HTTP, with its schemas in memory."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


class RegistryServer:
    """Listens on loopback from the start; a context manager."""

    def __init__(self, port: int = 0, account: tuple[str, str] | None = None) -> None:
        """`account`: user and password that HTTP Basic has to give."""
        self.asked: list[str] = []
        """Paths, in order."""
        self.schemas: dict[int, dict[str, object]] = {}
        self.subjects: dict[str, list[int]] = {}
        self.silent = threading.Event()
        """Set: requests are taken and never answered, until it is cleared."""
        self.account = account
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry.answer(self)

            def log_message(self, *_: object) -> None:
                """Tests read no log of this."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def __enter__(self) -> RegistryServer:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Nobody listens any more."""
        self._server.shutdown()
        self._server.server_close()

    def add(self, schema_id: int, subject: str, schema: object, kind: str = "AVRO", **more: object) -> None:
        """A version of the subject; `schema` is JSON, or the bytes of a FileDescriptorProto."""
        text = base64.b64encode(schema).decode() if isinstance(schema, bytes) else json.dumps(schema)
        self.schemas[schema_id] = {"schema": text, **({} if kind == "AVRO" else {"schemaType": kind}), **more}
        self.subjects.setdefault(subject, []).append(schema_id)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """One request."""
        self.asked.append(request.path)
        while self.silent.is_set():
            time.sleep(0.02)
        found = self._find(request) if self._let_in(request) else (401, {"error_code": 401, "message": "Unauthorized"})
        status, body = found if found is not None else (404, {"error_code": 40403, "message": "not found"})
        data = json.dumps(body).encode()
        with contextlib.suppress(OSError):  # who asked may not have waited
            request.send_response(status)
            request.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
            request.send_header("Content-Length", str(len(data)))
            request.end_headers()
            request.wfile.write(data)

    def _let_in(self, request: BaseHTTPRequestHandler) -> bool:
        if self.account is None:
            return True
        wanted = base64.b64encode(":".join(self.account).encode()).decode()
        return request.headers.get("Authorization") == f"Basic {wanted}"

    def _find(self, request: BaseHTTPRequestHandler) -> tuple[int, object] | None:
        match [unquote(part) for part in urlsplit(request.path).path.strip("/").split("/")]:
            case ["schemas", "ids", number] if int(number) in self.schemas:
                return 200, self.schemas[int(number)]
            case ["schemas", "ids", number, "versions"] if int(number) in self.schemas:
                uses = [
                    {"subject": subject, "version": ids.index(int(number)) + 1}
                    for subject, ids in self.subjects.items()
                    if int(number) in ids
                ]
                return 200, uses
            case ["subjects", subject, "versions", "latest"] if subject in self.subjects:
                ids = self.subjects[subject]
                return 200, {"subject": subject, "version": len(ids), "id": ids[-1], **self.schemas[ids[-1]]}
        return None
