"""The sealers of a configuration's routes, the guards of those that take sealed payloads only, their public keys."""

from __future__ import annotations

import os
from collections.abc import Mapping

from bridge.config import Config, Route
from bridge.security.device_seal import SealedByDevice
from bridge.security.envelope import Sealer, Seals
from bridge.security.keys import load_public
from bridge.security.recipient import PublicKey

Keys = Mapping[str, PublicKey]
"""By recipient."""
Sealers = Mapping[str, Seals]
"""By the filter of each route that is not plain."""


def read_keys(config: Config) -> Keys:
    """Read the recipients' public keys.

    Raises:
        KeyFileError: a file is not one.
    """
    return {name: load_public(recipient.public_key) for name, recipient in config.recipients.items()}


def make_sealers(config: Config, keys: Keys) -> Sealers:
    """Make a sealer for each route whose payloads this gateway seals, a guard where devices have to."""
    return {route.filter: _sealer(config, route, keys) for route in config.routes if route.seal != "plain"}


def _sealer(config: Config, route: Route, keys: Keys) -> Seals:
    recipients = {name: keys[name] for name in route.recipients}
    if route.seal == "require_sealed":
        return SealedByDevice(recipients.values(), config.sealing.streams_max)
    return Sealer(recipients, config.sealing, os.urandom)
