"""Drivers: processes around a client library that take a JSON object a line and answer in kind.

Starting one takes longer than most tests do, so one whose client said good-bye is used again; killing it is the way to
drop a connection without a word.
"""

from __future__ import annotations

import json
import queue
import subprocess
import threading
from collections import defaultdict
from typing import Any

ANSWER_WITHIN_S = 20.0


class Driver:
    """One process, with one client at a time."""

    def __init__(self, command: tuple[str, ...], environment: tuple[tuple[str, str], ...] = ()) -> None:
        """`environment`: all the variables it is given, where it is given any."""
        self.messages: queue.Queue[dict[str, Any]] = queue.Queue()
        """Those that came, as the driver said them."""
        self.kind = (command, environment)
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=dict(environment) or None,
            stderr=subprocess.DEVNULL,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def do(self, what: str, **arguments: object) -> None:
        """Returns when it is done; AssertionError where the library says that it could not."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": what, **arguments}) + "\n")
        self._process.stdin.flush()
        answer = self._answers.get(timeout=ANSWER_WITHIN_S)
        assert "done" in answer, (what, arguments, answer)

    def kill(self) -> None:
        """At once, and the client's connection with it."""
        self._process.kill()
        self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            if "message" in said:
                self.messages.put(said["message"])
            else:
                self._answers.put(said)


class Drivers:
    """Those that run, and wait for another client to be."""

    def __init__(self) -> None:
        self._idle: dict[object, list[Driver]] = defaultdict(list)

    def take(self, command: tuple[str, ...], environment: tuple[tuple[str, str], ...] = ()) -> Driver:
        """One that waits, or a new one."""
        idle = self._idle[(command, environment)]
        return idle.pop() if idle else Driver(command, environment)

    def give_back(self, driver: Driver) -> None:
        """Its client has disconnected."""
        driver.messages = queue.Queue()
        self._idle[driver.kind].append(driver)

    def close(self) -> None:
        """Ends those that wait."""
        for idle in self._idle.values():
            for driver in idle:
                driver.kill()
        self._idle.clear()
