"""An embedded Kafka-protocol broker in a process of its own: librdkafka's mock cluster.

    python -m firmware_sim.embedded_kafka      prints `READY 127.0.0.1:PORT`, ends at SIGTERM

A stand-in for demonstrations, and no more: it keeps everything in memory (about 5 MB a partition, then the oldest
goes), takes transactions but hands no committed position back, shows aborted ones to `read_committed`, fences nobody.
"""

from __future__ import annotations

import signal
import sys

from confluent_kafka import Producer


def main() -> int:
    """Serve until SIGTERM or SIGINT."""
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    # The cluster lives in this producer; the server's name is replaced by its own.
    cluster = Producer({"bootstrap.servers": "embedded", "test.mock.num.brokers": 1, "log_level": 0})
    (broker,) = cluster.list_topics(timeout=10).brokers.values()
    print(f"READY {broker.host}:{broker.port}", flush=True)
    signal.sigwait(ends)
    return 0


if __name__ == "__main__":
    sys.exit(main())
