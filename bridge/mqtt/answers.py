"""Answers: PUBACK and PUBREC in the order of the messages they answer [MQTT-4.6.0-2] [MQTT-4.6.0-3].

What one connection sends goes to several places (lanes, what is retained, subscribers), each done in its own
time. So the session notes what waits for an answer, and an answer that comes before its turn waits here.
"""

from __future__ import annotations


class Answers:
    """Of one connection; at most its window of them waits."""

    __slots__ = ("_early", "_output", "awaited")

    def __init__(self, output: list[bytes]) -> None:
        """Args: output: what goes to the client."""
        self.awaited: list[int] = []
        """Packet ids of messages that are not answered, as they came."""
        self._early: dict[int, tuple[bytes, ...]] = {}
        self._output = output

    def give(self, packet_id: int, answer: bytes) -> None:
        """Sends the answer once all before it are sent; at once, if nothing waits for it."""
        awaited, early = self.awaited, self._early
        if not awaited or awaited[0] != packet_id:
            # A client may have an id in use twice, though it must not: each waits for an answer.
            waiting = early.get(packet_id, ())
            if len(waiting) < awaited.count(packet_id):
                early[packet_id] = (*waiting, answer)
            else:
                self._output.append(answer)
            return
        del awaited[0]
        self._output.append(answer)
        while early and awaited and (ready := early.pop(awaited[0], None)) is not None:
            if len(ready) > 1:
                early[awaited[0]] = ready[1:]
            del awaited[0]
            self._output.append(ready[0])

    def forget(self) -> None:
        """The connection is over: nothing more goes out."""
        self.awaited.clear()
        self._early.clear()
