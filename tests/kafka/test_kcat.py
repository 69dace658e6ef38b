"""What we write is what everybody reads: with kcat, as a person at a shell would; each compression and delivery."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from bridge.log.record import encode_headers
from tests.support.kafka.feed import message

KCAT = shutil.which("kcat")
pytestmark = pytest.mark.skipif(KCAT is None, reason="kcat is not installed (the Debian package of that name)")


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
@pytest.mark.parametrize("compression", ["zstd", "lz4", "gzip", "none"])
def test_kcat_reads_key_headers_and_value(compression, delivery, kafka, make_site):
    site = make_site(kafka.address, extra=f'compression = "{compression}"\ndelivery = "{delivery}"\n')
    own = encode_headers([("content-type", b"text/plain")])
    for number in range(50):
        site.feed.append(message("dev-1", b"%d degrees" % number, site.topic, headers=own))
    site.feed.sync()
    site.start()
    site.wait()
    command = [KCAT, "-C", "-b", kafka.address, "-t", site.topic, "-o", "beginning", "-e", "-q", "-J"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["payload"] for each in found] == [f"{number} degrees" for number in range(50)]
    assert {each["key"] for each in found} == {"dev-1"}
    headers = dict(zip(found[7]["headers"][::2], found[7]["headers"][1::2], strict=True))
    assert headers["mqtt-topic"] == "devices/dev-1/telemetry/t"
    assert (headers["seq"], headers["content-type"], headers["gateway"]) == ("8", "text/plain", site.gateway)
