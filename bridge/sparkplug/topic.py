"""Sparkplug's topics: `spBv1.0/GROUP/KIND/NODE[/DEVICE]` and `spBv1.0/STATE/HOST` (Sparkplug 3.0, chapter 4)."""

from __future__ import annotations

from typing import Final

import msgspec

from bridge.sparkplug.errors import NotSparkplug

NAMESPACE: Final = "spBv1.0"
STATE: Final = "STATE"
NBIRTH, NDATA, NDEATH, NCMD = "NBIRTH", "NDATA", "NDEATH", "NCMD"
DBIRTH, DDATA, DDEATH, DCMD = "DBIRTH", "DDATA", "DDEATH", "DCMD"
OF_NODES: Final = frozenset({NBIRTH, NDATA, NDEATH, NCMD})
OF_DEVICES: Final = frozenset({DBIRTH, DDATA, DDEATH, DCMD})
BIRTHS: Final = frozenset({NBIRTH, DBIRTH})
COMMANDS: Final = frozenset({NCMD, DCMD})
"""What host applications say to nodes; they have no sequence."""


class Topic(msgspec.Struct, frozen=True):
    """What a topic says."""

    kind: str
    """One of the words above."""
    group: str = ""
    node: str = ""
    """Of STATE: the host application's id."""
    device: str = ""
    """Empty where the message is about the edge node itself."""

    @property
    def key(self) -> str:
        """What the document of the node, or of the device behind it, goes by where that is no device of ours.

        The namespace stands before it: a group may be called `gateway`, and those keys are taken.
        """
        names = (NAMESPACE, self.group, self.node)
        return "/".join((*names, self.device) if self.device else names)


def parse(topic: str, id_max_bytes: int) -> Topic:
    """What the topic says.

    Raises:
        NotSparkplug: it is none of Sparkplug's, or an id in it is empty or longer than `id_max_bytes` (UTF-8).
    """
    levels = topic.split("/")
    if levels[0] != NAMESPACE:
        raise NotSparkplug(f"its topic does not begin with {NAMESPACE}")
    if len(levels) == 3 and levels[1] == STATE:
        found = Topic(STATE, node=levels[2])
    elif len(levels) == 4 and levels[2] in OF_NODES:
        found = Topic(levels[2], levels[1], levels[3])
    elif len(levels) == 5 and levels[2] in OF_DEVICES:
        found = Topic(levels[2], levels[1], levels[3], levels[4])
    else:
        raise NotSparkplug(f"its topic is none of {NAMESPACE}")
    ids = levels[2:] if found.kind == STATE else [levels[1], *levels[3:]]
    if not all(ids):
        raise NotSparkplug("an id in its topic is empty")
    if any(len(each.encode()) > id_max_bytes for each in ids):
        raise NotSparkplug(f"an id in its topic has more than {id_max_bytes} bytes")
    return found


def command_topic(group: str, node: str) -> str:
    """Where an edge node hears commands [tck-id-payloads-ncmd-qos]: at QoS 0, never retained."""
    return f"{NAMESPACE}/{group}/{NCMD}/{node}"
