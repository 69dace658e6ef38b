"""amqtt's broker on a port of loopback: `amqtt_broker.py PORT`."""

from __future__ import annotations

import asyncio
import sys

from amqtt.broker import Broker


async def main(port: str) -> None:
    """Runs until it is killed."""
    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
    )
    await broker.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
