"""TopicLook: a topic read for a command; what stands in the way is said in words that its user can act on."""

from __future__ import annotations

from collections.abc import Callable

from bridge.bus_side.access import Access
from bridge.bus_side.fleet import FleetError
from bridge.bus_side.noise import Noise
from bridge.bus_side.sink import SinkAway, SinkRefused
from bridge.bus_side.topic_tail import Taken, TopicTail
from bridge.config import Kafka


class TopicLook:
    """One topic. Belongs to one event loop; call `close` at the end."""

    def __init__(
        self,
        kafka: Kafka,
        topic: str,
        setting: str,
        take: Callable[[Taken], None],
        noise: Noise,
        progress: Callable[[int, int], None],
    ) -> None:
        """Args:
        kafka: the cluster, and how to get in.
        topic: its name.
        setting: what names it in a gateway's configuration, and the option that does here.
        take: gets each record, in the order of its partition.
        noise: what aiokafka says, in which the reason may stand why there is no way to Kafka.
        progress: called with how many offsets of how many have been read, while a reading goes on.
        """
        self._topic = topic
        self._setting = setting
        self._servers = ", ".join(kafka.bootstrap_servers)
        self._access = Access(kafka)
        self._noise = noise
        self._tail = TopicTail(kafka, topic, take, progress)

    async def refresh(self) -> None:
        """Reads up to the present end. Raises FleetError: there is no such topic, it may not be read, Kafka is away."""
        try:
            await self._tail.refresh()
        except SinkRefused as error:
            raise FleetError(
                f"Kafka at {self._servers} does not let this account read the topic {self._topic!r}: it needs Read on "
                "it (an ACL), or another account's configuration file by --config"
            ) from error
        except SinkAway as error:
            raise FleetError(
                f"the topic {self._topic!r} cannot be read: {self.why(error.__cause__ or error)}"
            ) from error
        if not self._tail.partitions:
            raise FleetError(
                f"Kafka at {self._servers} has no topic {self._topic!r}, or does not show it to this account "
                f"(its name stands in the gateways' configuration: {self._setting})"
            )

    def why(self, error: BaseException) -> str:
        """Why Kafka cannot be used, in plain words."""
        return self._access.why(error, self._noise)

    async def close(self) -> None:
        """Gives the connection back."""
        await self._tail.close()
