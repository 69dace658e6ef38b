"""`python -m tests.support.kafka [--port P] [--data DIR]`: a broker in the foreground until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from tests.support.kafka.broker import Broker, BrokerError
from tests.support.kafka.fetch import FetchError


def main(argv: list[str]) -> int:
    """Run one broker; prints `READY 127.0.0.1:P` when it answers."""
    parser = argparse.ArgumentParser(prog="./dev kafka", description="A real single-node Kafka in the foreground.")
    parser.add_argument("--port", type=int, default=0, metavar="P", help="TCP port on 127.0.0.1 (default: a free one)")
    parser.add_argument("--data", type=Path, metavar="DIR", help="keep the data there (default: gone at the end)")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="kafka-") as scratch:
        return _serve(Broker(options.data or Path(scratch), port=options.port))


def _serve(broker: Broker) -> int:
    ends = {signal.SIGINT, signal.SIGTERM}
    # Blocked before the start: a signal that comes meanwhile is taken by sigwait, not lost.
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    try:
        broker.start()
    except (BrokerError, FetchError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"READY {broker.address}", flush=True)
    signal.sigwait(ends)
    broker.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
