"""TokenRefused: in a module of its own, so that those who only explain it do not load what asks for tokens."""

from __future__ import annotations

from aiokafka.errors import KafkaError


class TokenRefused(KafkaError):
    """There is no token; the text says why. A KafkaError, so that aiokafka treats it as a connection that failed."""
