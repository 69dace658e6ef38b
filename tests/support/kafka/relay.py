"""Relay: a port of one's own in front of another one, which may change."""

from __future__ import annotations

import contextlib
import socket
import threading
import time


class Relay:
    """Passes each new connection on to `target` of that moment."""

    def __init__(self, target: int, host: str = "127.0.0.1", port: int = 0) -> None:
        self.target = target
        self.swallows = False
        """A black hole: connections are taken and stay, and whatever is sent goes nowhere."""
        self.delay_s = 0.0
        """Whatever is sent is so long on its way."""
        self._listener = socket.create_server((host, port))
        self.port: int = self._listener.getsockname()[1]
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Nobody listens any more, and what is open ends."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self.target))
                self._ends += (near, far)
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=self._pass, args=ends, daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                time.sleep(self.delay_s)
                if not self.swallows:
                    sink.sendall(data)
        _end(sink)


def _end(sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)
