"""The sealers of a configuration's routes, and the public keys that they seal for."""

from __future__ import annotations

import os
from collections.abc import Mapping

from bridge.config import Config
from bridge.security.envelope import Sealer
from bridge.security.keys import load_public
from bridge.security.recipient import PublicKey

Keys = Mapping[str, PublicKey]
"""By recipient."""
Sealers = Mapping[str, Sealer]
"""By the filter of each sealed route."""


def read_keys(config: Config) -> Keys:
    """Read the recipients' public keys.

    Raises:
        KeyFileError: a file is not one.
    """
    return {name: load_public(recipient.public_key) for name, recipient in config.recipients.items()}


def make_sealers(config: Config, keys: Keys) -> Sealers:
    """Make a sealer for each route whose payloads this gateway seals."""
    return {
        route.filter: Sealer({name: keys[name] for name in route.recipients}, config.sealing, os.urandom)
        for route in config.routes
        if route.seal == "seal"
    }
