"""`busbridge open`: sealed records, opened."""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.cli.failure import FOUND, USAGE, Failure, plainly

if TYPE_CHECKING:
    from bridge.cli.exported import Record, RecordError
    from bridge.security.envelope import Opener

STANDARD_INPUT = Path("-")


def open_records(
    key: Annotated[list[Path], typer.Option(help="A recipient's private key, NAME.key; may be repeated.")],
    file: Annotated[
        Path,
        typer.Argument(metavar="[FILE]", help="Lines of 'queue export' or of a [jsonl] file; - is standard input."),
    ] = STANDARD_INPUT,
    topic: Annotated[str | None, typer.Option(help="Read this Kafka topic instead, from its beginning.")] = None,
    kafka: Annotated[str, typer.Option(metavar="HOST:PORT", help="The broker to read from.")] = "127.0.0.1:9092",
    most: Annotated[int | None, typer.Option("--max", min=1, help="Stop after so many records.")] = None,
) -> None:
    """Open sealed records and print them, a JSON object a line.

    A payload that is text stands under "payload", any other under "payload_base64". Records that were never sealed
    are printed with "sealed": false; those that the device sealed have "device_number", which rises unless somebody
    repeats a record. What cannot be opened is named on stderr, and the exit code is then 3.

    \b
    Examples:
      busbridge open --key keys/data-team.key --topic telemetry --kafka kafka-1:9092 --max 10
      cat out/*.jsonl | busbridge open --key keys/data-team.key
    """
    from bridge.security import envelope, keys

    if topic is not None and file != STANDARD_INPUT:
        raise Failure("give a FILE or a --topic, not both", USAGE)
    with plainly(keys.KeyFileError, code=USAGE):
        opener = envelope.Opener([keys.load_private(path) for path in key])
    records = _from_file(file, most) if topic is None else _from_topic(kafka, topic, most)
    unopened = sum(not _print_opened(opener, record) for record in records)
    if unopened:
        raise Failure(f"{unopened} record{'s' * (unopened != 1)} could not be opened", FOUND)


def _from_file(path: Path, most: int | None) -> Iterator[Record | RecordError]:
    from itertools import islice

    from bridge.cli.exported import read_lines

    if path == STANDARD_INPUT:
        yield from islice(read_lines(sys.stdin.buffer), most)
        return
    with plainly(), path.open("rb") as lines:
        yield from islice(read_lines(lines), most)


def _from_topic(server: str, topic: str, most: int | None) -> Iterable[Record | RecordError]:
    from bridge.cli.topic_reader import TopicError, read_topic

    with plainly(TopicError):
        yield from read_topic(server, topic, most)


def _print_opened(opener: Opener, record: Record | RecordError) -> bool:
    """Print the record opened and return True, or say on stderr why not."""
    from bridge.cli.exported import RecordError
    from bridge.security.envelope import SealError

    if isinstance(record, RecordError):
        print(record, file=sys.stderr)
        return False
    try:
        print(_line(opener, record))
    except SealError as error:
        print(f"device {record.device}, topic {record.topic}, seq {record.seq}: {error}", file=sys.stderr)
        return False
    return True


def _line(opener: Opener, record: Record) -> str:
    import msgspec

    from bridge.security.envelope import HEADER_SEAL, open_record

    payload, sealed = record.payload, HEADER_SEAL in record.headers
    where = {"device": record.device, "topic": record.topic, "seq": record.seq, "sealed": sealed}
    if sealed:
        device = record.device.encode()
        opened = open_record(opener, record.headers, device, payload, topic=record.topic, seq=record.seq)
        payload = opened.payload
        if opened.number is not None:
            where["device_number"] = opened.number
    return msgspec.json.encode({**where, **_payload(payload)}).decode()


def _payload(payload: bytes) -> dict[str, str]:
    try:
        return {"payload": payload.decode()}
    except UnicodeDecodeError:
        return {"payload_base64": base64.b64encode(payload).decode()}
