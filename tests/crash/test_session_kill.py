"""kill -9 while one client publishes and another, whose session stays, comes and goes: nothing lost, QoS 2 once.

On a route (what is published is in the log) and without one (it is on this gateway only).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from tests.crash.session_peers import Peer, Publisher, Stream, Subscriber
from tests.interop.gateway import Gateway, wait_until
from tests.support.effort import EFFORT

KILLS = 5 * EFFORT
STREAMS: list[Stream] = [
    ("devices/talker/telemetry/qos1", 1),
    ("devices/talker/telemetry/qos2", 2),
    ("devices/talker/local/qos1", 1),
    ("devices/talker/local/qos2", 2),
]

RULES = """
[acl]
publish = ["devices/#"]
subscribe = ["devices/#"]
[mqtt]
queue_max_messages = 1000000
queue_max_bytes = "1 GiB"
"""


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    made = Gateway(tmp_path, RULES).start()
    yield made
    if made.running:
        made.kill()


class Life:
    """Peers that connect again and again, each on a thread, until the gateway they talk to is killed."""

    def __init__(self, *peers: Peer) -> None:
        self._over = threading.Event()
        self.errors: list[BaseException] = []
        self._threads = [threading.Thread(target=self._live, args=(peer,)) for peer in peers]
        for thread in self._threads:
            thread.start()

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Returns when it came true, or something went wrong on a thread."""
        wait_until(lambda: condition() or self.errors, what, 60)

    def end(self) -> None:
        """Waits for the threads; what went wrong on one of them is raised."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        if self.errors:
            raise self.errors[0]

    def _live(self, peer: Peer) -> None:
        try:
            while not self._over.is_set():
                peer.live(self._over)
        except BaseException as error:
            self.errors.append(error)


def test_nothing_is_lost_and_qos_2_comes_once(gateway: Gateway) -> None:
    seed = Random().randrange(1 << 32)
    random = Random(seed)
    talker = Publisher("talker", gateway.port, STREAMS)
    listener = Subscriber("listener", gateway.port, "devices/talker/#")
    life = Life(listener)
    life.wait_until(listener.subscribed.is_set, "SUBACK")
    life.end()
    for _ in range(KILLS):
        _talk_and_kill(gateway, talker, listener, random)
        gateway.start()
    talker.more = False
    life = Life(talker, listener)
    life.wait_until(lambda: not talker.in_flight, f"the rest acknowledged, seed {seed}")
    life.wait_until(lambda: _complete(talker, listener), f"the rest received, seed {seed}")
    life.end()
    for stream in STREAMS:
        _check(stream, talker.published[stream], listener.received[stream], seed)


def _talk_and_kill(gateway: Gateway, talker: Publisher, listener: Subscriber, random: Random) -> None:
    """Some messages; then the listener goes and comes, or not, and the gateway is killed at some moment."""
    goal = talker.acknowledged + random.randrange(1, 400)
    life = Life(talker, *([listener] if random.random() < 0.8 else []))
    life.wait_until(lambda: talker.acknowledged >= goal, "acknowledgements")
    if random.random() < 0.4:
        listener.go_away.set()
    time.sleep(random.uniform(0, 0.1))
    gateway.kill()
    life.end()


def _complete(talker: Publisher, listener: Subscriber) -> bool:
    return all(len(set(listener.received.get(stream, ()))) >= talker.published[stream] for stream in STREAMS)


def _check(stream: Stream, published: int, received: list[int], seed: int) -> None:
    _, qos = stream
    if qos == 2:
        assert received == list(range(published)), (stream, seed)
    else:
        assert sorted(set(received)) == list(range(published)), (stream, seed)
