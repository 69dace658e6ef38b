"""LiveReader: a reader of the bus that reads along in a thread, opens what it gets, and notes when it had it."""

from __future__ import annotations

import threading

from firmware_sim.arrival import Arrival
from firmware_sim.audit import Auditor
from firmware_sim.kafka_reader import KafkaReader, KafkaReadError


class LiveReader:
    """Reads a topic with `read_committed` from now on until it is stopped."""

    def __init__(self, bootstrap: str, topic: str, auditor: Auditor) -> None:
        self.auditor = auditor
        """Ask it for findings only after `stop`."""
        self.sample: Arrival | None = None
        """One record as it arrived."""
        self.error: KafkaReadError | None = None
        self._bootstrap, self._topic = bootstrap, topic
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._read, name="reader")
        self._thread.start()

    def stop(self) -> None:
        """Read no more, and wait for the thread's end; a second call does nothing."""
        self._stopping.set()
        self._thread.join()

    def _read(self) -> None:
        try:
            with KafkaReader(self._bootstrap, self._topic) as reader:
                while not self._stopping.is_set():
                    arrivals = reader.read(0.1)
                    self.auditor.take(arrivals)
                    if arrivals:
                        self.sample = arrivals[-1]
        except KafkaReadError as error:
            self.error = error
