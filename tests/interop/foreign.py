"""Clients that others wrote, all told what to do in the same words: connect, subscribe, publish, disconnect, drop.

Each is in a process of its own, so that dropping the connection without a word is killing it.
"""

from __future__ import annotations

import json
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import msgspec

from tests.interop.driver import Driver, Drivers

CHECKOUT = Path(__file__).resolve().parents[2]
CLIENTS = Path(__file__).parent / "clients"
INSTALLED = CHECKOUT / ".cache" / "interop"
"""Where `./dev test` puts what is not Python."""
PATIENCE_S = 10.0
Command = tuple[tuple[str, ...], tuple[tuple[str, str], ...]]
"""A driver's arguments, and its environment where it is given one of its own."""


class Properties(msgspec.Struct, frozen=True):
    """Of an MQTT 5 message, those that an application means for the other one."""

    content_type: str
    response_topic: str
    correlation: str
    user: dict[str, str]


class Publication(msgspec.Struct, frozen=True):
    """As it is sent, or as it came: then without properties where it has none of interest."""

    topic: str
    payload: str
    qos: int = 0
    retain: bool = False
    properties: Properties | None = None


class Setup(msgspec.Struct, frozen=True):
    """How to connect."""

    port: int
    client_id: str
    version: int
    """4 (3.1.1) or 5."""
    clean: bool = True
    expiry_s: int = 0
    will: Publication | None = None
    filters: tuple[str, ...] = ()
    """Subscribed to at once, at QoS 2."""
    secrets: tuple[str, str] | None = None
    """Paths of the CA and of the client's certificate with its key, where the connection is TLS."""
    patience_s: float = PATIENCE_S
    """How long a message is waited for."""


class Client(Protocol):
    """One foreign client."""

    def connect(self, setup: Setup) -> None:
        """Connects and subscribes."""

    def publish(self, publication: Publication) -> None:
        """Returns after the last acknowledgement."""

    def message(self, timeout_s: float | None = None) -> Publication:
        """The next that came; raises queue.Empty. None: as long as the setup says."""

    def disconnect(self) -> None:
        """With good manners; nothing where it is not connected."""

    def drop(self) -> None:
        """Without a word."""


class LineClient:
    """A client of a library, in a driver."""

    def __init__(self, drivers: Drivers, scheme: str, command: Command) -> None:
        self._drivers = drivers
        self._scheme = scheme
        self._driver: Driver | None = drivers.take(*command)
        self._patience_s = PATIENCE_S

    def connect(self, setup: Setup) -> None:
        self._patience_s = setup.patience_s
        path = "/mqtt" if self._scheme in ("ws", "wss") else ""
        will = msgspec.to_builtins(setup.will)
        secrets = {} if setup.secrets is None else {"ca": setup.secrets[0], "certificate": setup.secrets[1]}
        self._do(
            "connect",
            url=f"{self._scheme}://127.0.0.1:{setup.port}{path}",
            client_id=setup.client_id,
            version=setup.version,
            clean=setup.clean,
            expiry_s=setup.expiry_s,
            will=will,
            **secrets,
        )
        for each in setup.filters:
            self._do("subscribe", filter=each, qos=2)

    def publish(self, publication: Publication) -> None:
        self._do("publish", **msgspec.to_builtins(publication))

    def message(self, timeout_s: float | None = None) -> Publication:
        assert self._driver is not None
        timeout_s = self._patience_s if timeout_s is None else timeout_s
        return _publication(self._driver.messages.get(timeout=timeout_s))

    def disconnect(self) -> None:
        if self._driver is not None:
            self._do("disconnect")
            self._drivers.give_back(self._driver)
            self._driver = None

    def drop(self) -> None:
        if self._driver is not None:
            self._driver.kill()
            self._driver = None

    def _do(self, what: str, **arguments: object) -> None:
        assert self._driver is not None
        self._driver.do(what, **arguments)


class MosquittoCommands:
    """`mosquitto_sub` for what comes, `mosquitto_pub` for what is sent, as one client in two halves."""

    def __init__(self, _drivers: Drivers) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._setup: Setup | None = None
        self._messages: queue.Queue[Publication] = queue.Queue()
        self._subscribed = threading.Event()

    def connect(self, setup: Setup) -> None:
        self._setup = setup
        filters = setup.filters or (f"devices/{setup.client_id}/none",)
        command = ["mosquitto_sub", *self._common("-i", setup.client_id), "-q", "2", "-d", "-F", "%j"]
        for each in filters:
            command += ["-t", each]
        if not setup.clean:
            command += ["-c", *(["-x", str(setup.expiry_s)] if setup.version == 5 else [])]
        if (will := setup.will) is not None:
            command += ["--will-topic", will.topic, "--will-payload", will.payload, "--will-qos", str(will.qos)]
            command += ["--will-retain"] if will.retain else []
        command = ["stdbuf", "-oL", *command]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self._read, args=(self._process,), daemon=True).start()
        assert self._subscribed.wait(PATIENCE_S), command

    def publish(self, publication: Publication) -> None:
        command = ["mosquitto_pub", *self._common("-t", publication.topic), *_content(publication.payload)]
        command += ["-q", str(publication.qos), *(["-r"] if publication.retain else [])]
        if (properties := publication.properties) is not None:
            for name, value in (
                ("content-type", properties.content_type),
                ("response-topic", properties.response_topic),
                ("correlation-data", properties.correlation),
            ):
                command += ["-D", "publish", name, value]
            for key, value in properties.user.items():
                command += ["-D", "publish", "user-property", key, value]
        subprocess.run(command, check=True, timeout=PATIENCE_S)

    def message(self, timeout_s: float | None = None) -> Publication:
        assert self._setup is not None
        return self._messages.get(timeout=self._setup.patience_s if timeout_s is None else timeout_s)

    def disconnect(self) -> None:
        if self._process is not None:
            self._process.terminate()  # it says DISCONNECT
            self._process.wait()
            self._process = None

    def drop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _common(self, *more: str) -> list[str]:
        assert self._setup is not None
        version = "mqttv5" if self._setup.version == 5 else "mqttv311"
        return ["-h", "127.0.0.1", "-p", str(self._setup.port), "-V", version, *more]

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("Subscribed"):
                self._subscribed.set()
            elif line.startswith("{"):
                self._messages.put(_publication(json.loads(line)))


def _content(payload: str) -> list[str]:
    return ["-m", payload] if payload else ["-n"]


def _publication(said: dict[str, Any]) -> Publication:
    named = {name.replace("-", "_"): value for name, value in (said.get("properties") or {}).items()}
    properties = None
    if "content_type" in named:
        users = named.get("user_properties", named.get("user", {}))
        pairs = users if isinstance(users, dict) else {key: value for each in users for key, value in each.items()}
        correlation = named.get("correlation_data", named.get("correlation", ""))
        properties = Properties(named["content_type"], named["response_topic"], correlation, pairs)
    return Publication(said["topic"], said["payload"] or "", said["qos"], bool(said["retain"]), properties)


class Foreigner(msgspec.Struct, frozen=True):
    """A kind of client: how one is made, what it speaks, and what must be installed for it."""

    name: str
    make: Callable[[Drivers], Client]
    needs: str | Path
    """A command on the PATH, or a file."""
    versions: tuple[int, ...] = (4, 5)
    scheme: str = "tcp"
    """"tcp", "ws" or "wss": which of our listeners it uses."""
    brokers: tuple[str, ...] = ("busbridge",)
    """Those it asks; not all ask all, for that takes most of the time."""
    cannot: tuple[tuple[int, str], ...] = ()
    """Steps of the script, by version, that the client has no way to do."""

    @property
    def asks(self) -> set[tuple[int, str]]:
        """Versions and brokers; amqtt's broker speaks MQTT 3.1.1 alone."""
        return {(version, broker) for version in self.versions for broker in self.brokers} - {(5, "amqtt")}

    @property
    def missing(self) -> str | None:
        """What to say when it cannot run here; None: it can."""
        there = self.needs.exists() if isinstance(self.needs, Path) else shutil.which(self.needs)
        return None if there else f"{self.name} is not installed (no {Path(self.needs).name}): ./dev test installs it"


def _library(
    name: str, command: Command, needs: str | Path, over: Mapping[str, tuple[int, ...]], **options: Any
) -> Iterator[Foreigner]:
    """A library with the versions that it speaks over each scheme; `options` are for TCP."""
    for scheme, versions in over.items():
        make = partial(LineClient, scheme=scheme, command=command)
        if scheme == "tcp":
            yield Foreigner(name, make, needs, versions, **options)
        else:
            yield Foreigner(f"{name}-{scheme}", make, needs, versions, scheme)


_MQTTJS = INSTALLED / "mqttjs" / "node_modules"
_GO = INSTALLED / "go" / "driver"
FOREIGNERS = (
    *_library(
        "paho-mqtt",
        ((sys.executable, str(CLIENTS / "paho_driver.py")), ()),
        "python3",
        {"tcp": (4, 5), "ws": (5,), "wss": (5,)},
        brokers=("busbridge", "mosquitto", "amqtt"),
    ),
    # mosquitto_sub with MQTT 5 always leaves with reason 4, "publish my will"
    Foreigner(
        "mosquitto",
        MosquittoCommands,
        "mosquitto_sub",
        brokers=("busbridge", "mosquitto"),
        cannot=((5, "will_taken_back"),),
    ),
    *_library("amqtt", ((sys.executable, str(CLIENTS / "amqtt_driver.py")), ()), "python3", {"tcp": (4,)}),
    *_library(
        "mqttjs",
        ((shutil.which("node") or "node", str(CLIENTS / "mqttjs" / "driver.cjs")), (("NODE_PATH", str(_MQTTJS)),)),
        _MQTTJS / "mqtt" / "package.json",
        {"tcp": (4, 5), "ws": (4,), "wss": (5,)},
    ),
    # The library for MQTT 5 passes RETAIN on only in later versions, which need a Go that is newer than Debian 12's.
    *_library("go", ((str(_GO),), ()), _GO, {"tcp": (4, 5), "ws": (4,), "wss": (4,)}, cannot=((5, "retained"),)),
)
