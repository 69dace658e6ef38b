from pathlib import Path

from firmware_sim.arrival import Arrival


def read_jsonl(directory: Path, topic: str) -> list[Arrival]:
    return []
