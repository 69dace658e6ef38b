"""The client's QoS 2, against a server made for it: a release stays a release, however many reconnects fail."""

from __future__ import annotations

import socket
import threading

import paho.mqtt.client as paho
import pytest

from firmware_sim.client import make_client
from firmware_sim.plan import Plan

_CONNACK_PRESENT, _PUBREC, _PUBCOMP = bytes((0x20, 2, 1, 0)), 0x50, 0x70


class Server:
    """A listening socket, and what came on each connection: the first byte of each packet."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.seen: list[list[int]] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        self._talk({0x10: _CONNACK_PRESENT, 0x30: None}, until=0x60)  # PUBREC for PUBLISH; gone after PUBREL
        self._talk({}, until=0x10)  # gone before CONNACK, twice
        self._talk({}, until=0x10)
        self._talk({0x10: _CONNACK_PRESENT}, until=0x60, finish=True)

    def _talk(self, answers: dict[int, bytes | None], until: int, finish: bool = False) -> None:
        connection, _ = self.socket.accept()
        kinds: list[int] = []
        self.seen.append(kinds)
        with connection, connection.makefile("rb") as stream:
            while not kinds or kinds[-1] != until:
                first, length = stream.read(2)
                body = stream.read(length)
                kinds.append(first & 0xF0)
                if kinds[-1] in answers:
                    packet_id = body[2 + int.from_bytes(body[:2], "big") :][:2]
                    connection.sendall(answers[kinds[-1]] or bytes((_PUBREC, 2)) + packet_id)
            if finish:
                connection.sendall(bytes((_PUBCOMP, 2)) + body)
                stream.read()  # until the client has gone


def _loop(client: paho.Client, times: int = 200) -> None:
    for _ in range(times):
        if client.loop(0.05) != paho.MQTT_ERR_SUCCESS:
            return


@pytest.mark.timeout(30)
def test_after_pubrel_no_publish_is_sent_again() -> None:
    server = Server()
    plan = Plan(host="127.0.0.1", port=server.port, devices=("dev-1",), marker="m", fresh=False)
    client = make_client(plan, "dev-1", "3.1.1")
    client.reconnect()
    message = client.publish("devices/dev-1/t", b"x", qos=2)
    _loop(client)
    for _ in range(2):
        client.reconnect()
        _loop(client)
    client.reconnect()
    while not message.is_published():
        client.loop(0.05)
    assert server.seen == [[0x10, 0x30, 0x60], [0x10], [0x10], [0x10, 0x60]]
