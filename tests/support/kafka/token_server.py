"""TokenServer: an OAuth 2 token endpoint for one client, with tokens as Kafka's unsecured validator takes them."""

from __future__ import annotations

import base64
import json
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class TokenServer:
    """Runs from the beginning to `close`."""

    def __init__(self, client_id: str, client_secret: str) -> None:
        self.life_s = 60.0
        self.skew_s = 0.0
        """Tokens that ended so long ago already."""
        self.issued = 0
        self.given: list[str] = []
        """The tokens."""
        self._account = f"{urllib.parse.quote_plus(client_id)}:{urllib.parse.quote_plus(client_secret)}"
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                form = self.rfile.read(int(self.headers["Content-Length"])).decode()
                status, answer = outer._answer(self.headers["Authorization"], urllib.parse.parse_qs(form))
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                """The test's own output stays readable."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/token"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, account: str, form: dict[str, list[str]]) -> tuple[int, bytes]:
        if account != "Basic " + base64.b64encode(self._account.encode()).decode():
            return 401, b'{"error": "invalid_client"}'
        if form.get("grant_type") != ["client_credentials"] or form.get("scope") != ["kafka"]:
            return 400, b'{"error": "invalid_request"}'
        self.issued += 1
        now = time.time() - self.skew_s
        claims = {"sub": "gateway", "iat": now, "exp": now + self.life_s}
        token = f"{_base64url({'alg': 'none'})}.{_base64url(claims)}."
        self.given.append(token)
        return 200, json.dumps({"access_token": token, "token_type": "Bearer", "expires_in": self.life_s}).encode()


def _base64url(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
