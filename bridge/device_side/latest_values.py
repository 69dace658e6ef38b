"""What data says of devices between two writings of their documents: of each metric the last value counts."""

from __future__ import annotations

from collections.abc import Callable

from bridge.device_side.desired import State


class LatestValues:
    """Key of a document → values by name; None: the metric is null."""

    def __init__(
        self, tell: Callable[[str, State], object], later: Callable[[float, Callable[[], object]], object]
    ) -> None:
        """Args:
        tell: takes what has come together.
        later: calls back after so many seconds.
        """
        self._tell = tell
        self._later = later
        self._values: dict[str, State] = {}

    def add(self, key: str, values: State, interval: float) -> None:
        """Told `interval` seconds after the first that nobody has been told of."""
        known = self._values.get(key)
        if known is not None:
            known.update(values)
        elif values:
            self._values[key] = dict(values)
            self._later(interval, lambda: self.flush(key))

    def flush(self, key: str) -> None:
        """Tells at once what there is."""
        values = self._values.pop(key, None)
        if values:
            self._tell(key, values)

    def drop(self, key: str) -> None:
        """All of it is known by other means."""
        self._values.pop(key, None)
