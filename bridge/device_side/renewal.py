"""Renewal: server certificates that end soon are made anew by a CA whose key is on this gateway.

It only replaces the files; that they have changed is `reload`'s to notice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography import x509

from bridge.config import Listener, Tls

_log = logging.getLogger(__name__)
LEFT = 1 / 3
"""Of `renew_life`; with less it is renewed."""
_DAY_S = 86_400.0
_CHECKS = 50
"""In that life."""
_CHECK_S_MAX = 3600.0


class Renewal:
    """For all listeners that name a CA in `renew_from`."""

    def __init__(self, listeners: Sequence[Listener], now_s: Callable[[], float]) -> None:
        """Args:
        listeners: their settings.
        now_s: reads the wall clock, seconds since the epoch.
        """
        settings = [listener.tls for listener in listeners if listener.tls is not None]
        self._files = {each.certificate: each for each in settings if each.renew_from is not None}
        self._now_s = now_s

    async def run(self) -> None:
        """Checks from time to time. Runs until cancelled; ends at once where nothing is to be renewed."""
        while self._files:
            pauses = [await asyncio.to_thread(self._check, tls) for tls in self._files.values()]
            await asyncio.sleep(min(pauses))

    def _check(self, tls: Tls) -> float:
        """Renews one if it is time; returns after how many seconds to look again. Blocks.

        What makes certificates is loaded here, on a thread, by the few that have a CA beside them.
        """
        from bridge.security.ca_directory import CaDirectory, CaError
        from bridge.security.pki import Validity

        assert tls.renew_from is not None
        try:
            if self._now_s() > _end(tls.certificate) - LEFT * tls.renew_life:
                ca = CaDirectory.load(tls.renew_from)
                new = ca.renew_server(tls.certificate, tls.private_key, Validity.days(tls.renew_life / _DAY_S))
                _log.info("renewed %s: it ends %s", tls.certificate, f"{new.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}")
        except (OSError, ValueError, CaError) as error:
            _log.error("cannot renew %s from the CA in %s: %s", tls.certificate, tls.renew_from, error)
        return min(tls.renew_life / _CHECKS, _CHECK_S_MAX)


def _end(certificate: Path) -> float:
    """Seconds since the epoch."""
    return x509.load_pem_x509_certificates(certificate.read_bytes())[0].not_valid_after_utc.timestamp()
