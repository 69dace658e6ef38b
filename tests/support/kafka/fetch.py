"""Fetch Kafka's jars through Maven into `.kafka/` of the checkout: once, also when several ask at the same time."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import tempfile
from pathlib import Path

KAFKA_VERSION = "4.1.0"
CHECKOUT = Path(__file__).resolve().parents[3]
CACHE = CHECKOUT / ".kafka"

_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>busbridge.tests</groupId><artifactId>kafka</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{version}</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>{version}</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
"""


class FetchError(Exception):
    """Kafka could not be had; the text says in plain words what is missing."""


def java() -> str:
    """The Java launcher's path. Raises FetchError where there is none."""
    return _program("java", "a Java runtime is needed to run Kafka (Debian: apt-get install default-jre-headless)")


def libraries(cache: Path = CACHE) -> Path:
    """The directory with Kafka's jars, fetched now if this is the first time (54 MB).

    Raises:
        FetchError: Java or Maven is missing, or Maven failed.
    """
    # With the command line tools; the name changes with what is in it, so that an older set is not taken for this one.
    place = cache / f"libraries-{KAFKA_VERSION}-tools"
    if place.is_dir():
        return place
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.is_dir():
            _fetch(place)
    return place


def _fetch(place: Path) -> None:
    java()
    maven = _program("mvn", "Maven is needed to fetch Kafka (Debian: apt-get install maven)")
    with tempfile.TemporaryDirectory(dir=place.parent) as scratch:
        pom = Path(scratch) / "pom.xml"
        pom.write_text(_POM.format(version=KAFKA_VERSION))
        jars = Path(scratch) / "jars"
        command = [maven, "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={jars}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise FetchError(f"Maven could not fetch Kafka {KAFKA_VERSION}:\n{done.stdout}{done.stderr}")
        # Only a complete set ever has the final name.
        jars.rename(place)


def _program(name: str, advice: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise FetchError(advice)
    return path
