"""`$SYS/broker/…` beside mosquitto's: whoever reads its figures finds ours under the same names."""

from __future__ import annotations

from pathlib import Path

from tests.interop.conftest import NewGateway
from tests.interop.other_side import mosquitto
from tests.interop.wire import Wire

LEFT_OUT = {"publish/bytes/received", "publish/bytes/sent"}
OFTEN = '[acl]\nsubscribe = ["$SYS/#"]\n[mqtt]\nsys_interval = "1 s"\n'
SOME = {"uptime", "heap/maximum", "store/messages/bytes", "load/sockets/15min", "messages/sent", "clients/connected"}


def figures(port: int, wanted: set[str]) -> dict[str, str]:
    """By name, until all that is wanted was told."""
    found: dict[str, str] = {}
    with Wire(port, "reader") as wire:
        wire.connected()
        assert wire.subscribe("$SYS/#") == 0
        while not wanted <= found.keys():
            publication = wire.publication(20.0)
            found[publication.topic.removeprefix("$SYS/broker/")] = publication.payload.decode()
    return found


def test_there_is_what_mosquitto_has(new_gateway: NewGateway, tmp_path: Path) -> None:
    with mosquitto(tmp_path) as other:
        theirs = figures(other.ports["tcp"], SOME)
    assert len(theirs) > len(SOME)
    ours = figures(new_gateway(OFTEN).start().port, theirs.keys() - LEFT_OUT)
    assert int(ours["heap/current"]) > 1 << 20
    assert ours["version"].startswith("busbridge version ")
