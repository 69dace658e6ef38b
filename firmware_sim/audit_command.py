"""`busbridge-fleet audit`: what arrived, held against the ledgers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from bridge.security.envelope import Opener
from bridge.security.keys import KeyFileError, load_private
from firmware_sim.audit import Auditor
from firmware_sim.document_audit import hold_documents, latest_documents
from firmware_sim.findings import Findings
from firmware_sim.jsonl_reader import read_jsonl
from firmware_sim.kafka_reader import KafkaReader
from firmware_sim.ledger import Ledger, read_ledger
from firmware_sim.report import print_findings

FOUND = 3
"""Exit code: it ran and found something wrong."""


def audit(
    ledger: Annotated[list[Path], typer.Option(metavar="FILE", help="Written by 'run'; may be repeated.")],
    kafka: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Read from this Kafka …")] = None,
    jsonl: Annotated[Path | None, typer.Option(metavar="DIR", help="… or from the files of the jsonl sink.")] = None,
    topic: Annotated[str, typer.Option(help="Of the telemetry.")] = "telemetry",
    state_topic: Annotated[str | None, typer.Option(help="Compare device documents, too.")] = None,
    key: Annotated[list[Path] | None, typer.Option(metavar="NAME.key", help="Opens sealed payloads.")] = None,
    wait: Annotated[float, typer.Option(help="Seconds to wait for acknowledged messages still under way.")] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Say what was lost, doubled, out of order or altered. Exit code 3 when something is wrong.

    Reads as `read_committed` from the beginning of the topic to its end.

    \b
    Example:
      busbridge-fleet audit --ledger fleet.ledger --kafka kafka-1:9092 --topic telemetry --key data-team.key \\
          --state-topic device-state
    """
    if (kafka is None) == (jsonl is None):
        raise typer.BadParameter("one of them is needed", param_hint="--kafka / --jsonl")
    try:
        auditor = Auditor(Opener([load_private(path) for path in key]) if key else None)
    except KeyFileError as error:
        raise typer.BadParameter(str(error), param_hint="--key") from error
    told = read_ledger(ledger)
    if kafka is not None:
        found = audit_kafka(auditor, told, kafka, topic, state_topic, wait)
    else:
        assert jsonl is not None
        found = audit_jsonl(auditor, told, jsonl, topic, state_topic)
    if as_json:
        print(msgspec.json.encode(found).decode())
    else:
        print_findings(found)
    if not found.clean:
        raise typer.Exit(FOUND)


def audit_kafka(
    auditor: Auditor, ledger: Ledger, bootstrap: str, topic: str, state_topic: str | None, wait_s: float = 0.0
) -> Findings:
    """Audit what is in Kafka, both topics from the beginning.

    Raises:
        KafkaReadError: it cannot be read.
        ValueError: the state topic holds something that is no document.
    """
    deadline = time.monotonic() + wait_s
    with KafkaReader(bootstrap, topic) as reader:
        auditor.take(reader.read_to_end())
        while auditor.missing(ledger) and time.monotonic() < deadline:
            auditor.take(reader.read(0.5))
    found = auditor.findings(ledger)
    found.to_kafka = None  # it was read afterwards
    if state_topic is not None:
        with KafkaReader(bootstrap, state_topic) as reader:
            hold_documents(ledger, latest_documents(reader.read_to_end()), found)
    return found


def audit_jsonl(auditor: Auditor, ledger: Ledger, directory: Path, topic: str, state_topic: str | None) -> Findings:
    """Audit what the jsonl sink wrote.

    Raises:
        OSError, ValueError: its files cannot be read, or are not the sink's.
    """
    auditor.take(read_jsonl(directory, topic))
    found = auditor.findings(ledger)
    if state_topic is not None:
        hold_documents(ledger, latest_documents(read_jsonl(directory, state_topic)), found)
    return found
