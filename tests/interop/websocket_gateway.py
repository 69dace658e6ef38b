"""A gateway that speaks WebSocket on two more ports, with and without TLS."""

from __future__ import annotations

from pathlib import Path

from tests.interop.gateway import Gateway
from tests.support.ports import free_port

LISTENERS = """
[[listeners]]
bind = "127.0.0.1:{port}"
anonymous = true
path = "/mqtt"
origins = ["https://panel.example"]
[[listeners]]
bind = "127.0.0.1:{tls_port}"
path = "/mqtt"
tls = {{ certificate = "{certs}/{server}", private_key = "{certs}/{key}", client_ca = "{ca}" }}
"""


class WebSocketGateway(Gateway):
    """As `Gateway`, at `/mqtt` on `ws_port` and `wss_port`."""

    def __init__(self, directory: Path, extra: str = "") -> None:
        self.ws_port, self.wss_port = free_port(), free_port()
        super().__init__(directory, extra)
        certificate, key = self.authority.server()
        listeners = LISTENERS.format(
            port=self.ws_port,
            tls_port=self.wss_port,
            certs=certificate.parent,
            server=certificate.name,
            key=key.name,
            ca=self.authority.pem,
        )
        self.config.write_text(self.config.read_text() + listeners)

    def start(self) -> WebSocketGateway:
        """Starts it and waits until it says that it is ready."""
        super().start()
        return self
