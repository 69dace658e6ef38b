"""NotSparkplug: the one error of a message that is not as Sparkplug has it."""

from __future__ import annotations


class NotSparkplug(Exception):
    """A topic or payload that cannot be understood.

    The text is for people and stands in a header in clear: it names places (`metric 3`) and nothing of the payload,
    which may be sealed.
    """
