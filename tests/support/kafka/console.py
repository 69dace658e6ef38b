"""Kafka's own console consumer (Java): what everybody reads with, in the words it prints."""

from __future__ import annotations

import subprocess

from tests.support.kafka.fetch import java, libraries


def console_lines(server: str, topic: str, count: int) -> list[str]:
    """The first `count` committed records: `CreateTime:MS|HEADER:VALUE,…|KEY|VALUE` each. Raises CalledProcessError."""
    properties = {"timestamp": "true", "headers": "true", "key": "true", "key.separator": "|", "headers.separator": ","}
    done = subprocess.run(
        [
            *(java(), "-Xmx128m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", f"{libraries()}/*"),
            "org.apache.kafka.tools.consumer.ConsoleConsumer",
            *("--bootstrap-server", server, "--topic", topic, "--from-beginning"),
            *("--isolation-level", "read_committed", "--max-messages", str(count), "--timeout-ms", "20000"),
            *(
                part
                for name, value in properties.items()
                for part in ("--property", f"print.{name}={value}" if value == "true" else f"{name}={value}")
            ),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.splitlines()
