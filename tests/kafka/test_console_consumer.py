"""What we write is what everybody reads: with the Java client, whose protocol code is not ours nor librdkafka's."""

from __future__ import annotations

import pytest

from bridge.log.record import encode_headers
from tests.support.kafka.console import console_lines
from tests.support.kafka.feed import message


@pytest.mark.parametrize("compression", ["zstd", "none"])
def test_java_reads_key_headers_and_value(compression, kafka, make_site):
    site = make_site(kafka.address, extra=f'compression = "{compression}"\n')
    own = encode_headers([("content-type", b"text/plain"), ("user-Größe", "groß".encode())])
    site.feed.append(message("dev-1", b"21.5 degrees", site.topic, headers=own))
    site.feed.append(message("", b"without a key", site.topic))
    site.feed.sync()
    site.start()
    site.wait()
    lines = [line.split("|") for line in console_lines(kafka.address, site.topic, 2)]
    assert len(lines) == 2
    (times, headers, key, value) = next(line for line in lines if line[3] == "21.5 degrees")
    assert times.startswith("CreateTime:1")
    assert key == "dev-1"
    assert headers.split(",") == [
        "mqtt-topic:devices/dev-1/telemetry/t",
        "mqtt-qos:1",
        "mqtt-retain:false",
        f"gateway:{site.gateway}",
        "lane:normal",
        f"log:{site.feed.log_id.hex()}",
        "clock:synchronised",
        "content-type:text/plain",
        "user-Größe:groß",
        "seq:1",
    ]
    assert next(line[2] for line in lines if line[3] == "without a key") == "null"
    assert value == "21.5 degrees"
