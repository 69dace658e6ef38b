"""One script, run by clients that others wrote, against our daemon, mosquitto and amqtt's broker.

Where another broker does otherwise than the script expects, `DIFFERENCES` says why, and docs/mqtt-conformance.md
repeats it.
"""

from __future__ import annotations

import itertools
import queue
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.interop.driver import Drivers
from tests.interop.foreign import FOREIGNERS, PATIENCE_S, Client, Foreigner, Properties, Publication, Setup
from tests.interop.other_side import OtherSide, amqtt, busbridge, mosquitto

OTHER_SIDES = {"busbridge": busbridge, "mosquitto": mosquitto, "amqtt": amqtt}
_RAISED = "it delivers at the QoS of the subscription even where the publisher's was lower [MQTT-3.8.4-6]"
DIFFERENCES = {
    ("amqtt", "every_quality_of_service"): _RAISED,
    ("amqtt", "retained"): _RAISED,
    ("amqtt", "persistent_session"): "what was published meanwhile does not reach the client that comes back",
    ("amqtt", "shared_subscription"): "it does not know them: they belong to MQTT 5, which it does not speak",
}
"""By broker and step, of those that are not ours: why the step fails there, as it must."""
SILENCE_S = 0.2
_numbers = itertools.count()


class Brokers:
    """Those asked for so far; each runs until the module is done."""

    def __init__(self, directories: pytest.TempPathFactory, stack: ExitStack) -> None:
        self._directories = directories
        self._stack = stack
        self._running: dict[str, OtherSide] = {}

    def running(self, name: str) -> OtherSide:
        """Starts it the first time."""
        if name not in self._running:
            context = OTHER_SIDES[name](self._directories.mktemp(name))
            self._running[name] = self._stack.enter_context(context)
        return self._running[name]


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brokers]:
    # (not by indirect parameters: pytest makes those anew for every test that has others beside them)
    with ExitStack() as stack:
        yield Brokers(tmp_path_factory, stack)


@pytest.fixture(scope="module")
def drivers() -> Iterator[Drivers]:
    drivers = Drivers()
    yield drivers
    drivers.close()


class Stage:
    """Two names and a topic of the run's own, and clients that are ended with it."""

    def __init__(
        self, broker: OtherSide, drivers: Drivers, foreigner: Foreigner, version: int, patience_s: float
    ) -> None:
        number = next(_numbers)
        self.first, self.second = f"first-{number}", f"second-{number}"
        self.topic = f"devices/stage-{number}/x"
        self.version = version
        self.clients: list[Client] = []
        self.patience_s = patience_s
        self._broker = broker
        self._drivers = drivers
        self._foreigner = foreigner

    def client(self, name: str, *filters: str, clean: bool = True, will: Publication | None = None) -> Client:
        """One that is connected and subscribed; a session that is not clean lasts a minute."""
        scheme = self._foreigner.scheme
        client = self._foreigner.make(self._drivers)
        self.clients.append(client)
        port, secrets = self._broker.ports[scheme], self._broker.secrets(scheme, name)
        expiry_s = 0 if clean else 60
        setup = Setup(port, name, self.version, clean, expiry_s, will, filters, secrets, self.patience_s)
        client.connect(setup)
        return client


def every_quality_of_service(stage: Stage) -> None:
    """Both ways, in order, once each."""
    client = stage.client(stage.first, stage.topic)
    for qos in (0, 1, 2):
        client.publish(Publication(stage.topic, f"at {qos}", qos))
    assert [client.message() for _ in range(3)] == [Publication(stage.topic, f"at {qos}", qos) for qos in (0, 1, 2)]


def retained(stage: Stage) -> None:
    """A late subscriber finds the last one; an empty one removes it."""
    first = stage.client(stage.first)
    first.publish(Publication(stage.topic, "old", 1, retain=True))
    first.publish(Publication(stage.topic, "kept", 1, retain=True))
    second = stage.client(stage.second, stage.topic)
    assert second.message() == Publication(stage.topic, "kept", 1, retain=True)
    first.publish(Publication(stage.topic, "", 1, retain=True))
    assert second.message() == Publication(stage.topic, "", 1)
    third = stage.client(f"{stage.first}-late", stage.topic)
    with pytest.raises(queue.Empty):
        third.message(SILENCE_S)


def will(stage: Stage) -> None:
    """For a connection that ends without a word."""
    watcher = stage.client(stage.second, stage.topic)
    stage.client(stage.first, will=Publication(stage.topic, "lost", 1)).drop()
    assert watcher.message() == Publication(stage.topic, "lost", 1)


def will_taken_back(stage: Stage) -> None:
    """By one that says good-bye."""
    watcher = stage.client(stage.second, stage.topic)
    stage.client(stage.first, will=Publication(stage.topic, "left", 1)).disconnect()
    with pytest.raises(queue.Empty):
        watcher.message(SILENCE_S)


def persistent_session(stage: Stage) -> None:
    """What comes while the client is away waits for it, at the QoS it asked for."""
    stage.client(stage.first, stage.topic, clean=False).disconnect()
    sender = stage.client(stage.second)
    for qos in (1, 2):
        sender.publish(Publication(stage.topic, f"waiting {qos}", qos))
    back = stage.client(stage.first, clean=False)
    assert [back.message() for _ in range(2)] == [Publication(stage.topic, f"waiting {qos}", qos) for qos in (1, 2)]
    back.disconnect()
    again = stage.client(stage.first, clean=True)
    sender.publish(Publication(stage.topic, "nobody's", 1))
    with pytest.raises(queue.Empty):
        again.message(SILENCE_S)


def properties(stage: Stage) -> None:
    """What one application tells another beside the payload."""
    client = stage.client(stage.first, stage.topic)
    given = Properties("text/plain", f"{stage.topic}/answer", "which-one", {"unit": "°C", "place": "roof"})
    client.publish(Publication(stage.topic, "21.5", 1, properties=given))
    assert client.message() == Publication(stage.topic, "21.5", 1, properties=given)


def shared_subscription(stage: Stage) -> None:
    """Each message goes to one member, and every member has its turn."""
    members = [stage.client(name, f"$share/group/{stage.topic}") for name in (stage.first, stage.second)]
    sender = stage.client(f"{stage.first}-sender")
    sent = [f"number {number}" for number in range(8)]
    for payload in sent:
        sender.publish(Publication(stage.topic, payload, 1))
    shares: list[list[str]] = [[], []]
    until = time.monotonic() + stage.patience_s
    while sum(map(len, shares)) < len(sent) and time.monotonic() < until:
        for share, member in zip(shares, members, strict=True):
            share += _waiting(member)
    assert Counter(itertools.chain(*shares)) == Counter(sent)
    assert all(shares)


def _waiting(member: Client) -> list[str]:
    try:
        return [member.message(0.01).payload]
    except queue.Empty:
        return []


STEPS: tuple[Callable[[Stage], None], ...] = (
    every_quality_of_service,
    retained,
    will,
    will_taken_back,
    persistent_session,
    properties,
    shared_subscription,
)
OVER_WEBSOCKET = {"ws": (every_quality_of_service,), "wss": (every_quality_of_service, will, persistent_session)}


def _cases() -> Iterator[object]:
    for broker, foreigner, step in itertools.product(OTHER_SIDES, FOREIGNERS, STEPS):
        for version in foreigner.versions:
            name = step.__name__
            possible = (version, name) not in foreigner.cannot and (version == 5 or step is not properties)
            if foreigner.scheme != "tcp":  # the frames know nothing of the other steps
                possible &= step in OVER_WEBSOCKET[foreigner.scheme]
            if possible and (version, broker) in foreigner.asks:
                yield pytest.param(broker, foreigner, version, step, id=f"{broker}-{foreigner.name}-{version}-{name}")


@pytest.mark.parametrize(("broker", "foreigner", "version", "step"), list(_cases()))
@pytest.mark.mqtt(
    "MQTT-3.1.2-4",
    "MQTT-3.1.2-5",
    "MQTT-3.1.2-8",
    "MQTT-3.1.2-10",
    "MQTT-3.3.1-5",
    "MQTT-3.3.1-6",
    "MQTT-3.3.2-15",
    "MQTT-3.3.2-16",
    "MQTT-3.3.2-18",
    "MQTT-3.3.2-20",
    "MQTT-3.8.4-8",
)
def test_the_script(
    brokers: Brokers, drivers: Drivers, broker: str, foreigner: Foreigner, version: int, step: Callable[[Stage], None]
) -> None:
    if foreigner.missing:
        pytest.skip(foreigner.missing)
    differs = (broker, step.__name__) in DIFFERENCES
    stage = Stage(brokers.running(broker), drivers, foreigner, version, 1.0 if differs else PATIENCE_S)
    try:
        if differs:
            with pytest.raises((AssertionError, queue.Empty, subprocess.SubprocessError)):
                step(stage)
        else:
            step(stage)
            for client in stage.clients:
                client.disconnect()
    finally:
        for client in stage.clients:
            client.drop()
