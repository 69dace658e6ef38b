"""What of a device's presence may be believed: the rule of docs/device-state.md, each way it can turn out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.belief import Life, Presence, believed

INSTANTS = st.integers(0, 9).map("2026-01-01T00:00:0{}.000Z".format)
NOW, EARLIER, LATER = (f"2026-01-01T00:00:0{second}.000Z" for second in (5, 3, 7))
HERE = Presence("online", EARLIER, EARLIER, None, "gw", 2, EARLIER)


@pytest.mark.parametrize(
    ("presence", "life", "state", "since", "word"),
    [
        (None, None, "unknown", "", "no gateway has said"),
        (HERE, Life(2, LATER), "online", EARLIER, LATER),
        (HERE, Life(2, NOW), "online", EARLIER, NOW),
        (HERE, Life(2, EARLIER), "unknown", EARLIER, "the lease of gateway gw is over"),
        (Presence("online", EARLIER, EARLIER, None, "gw", 2, LATER), Life(2, EARLIER), "online", EARLIER, LATER),
        (HERE, Life(3, LATER), "unknown", EARLIER, "epoch 3, the document's is 2"),
        (HERE, None, "unknown", EARLIER, "has no record"),
        (
            Presence("offline", EARLIER, EARLIER, "keepalive", "gw", 1),
            None,
            "offline",
            EARLIER,
            "gw says so: keepalive",
        ),
        (
            Presence("unknown", EARLIER, EARLIER, "lease-over", "gw", 1),
            Life(1, LATER),
            "unknown",
            EARLIER,
            "lease-over",
        ),
    ],
    ids=["none", "online", "just", "lease over", "own lease", "restarted", "no record", "offline", "swept"],
)
def test_what_is_believed_and_why(
    presence: Presence | None, life: Life | None, state: str, since: str, word: str
) -> None:
    belief = believed(presence, life, NOW)
    assert (belief.state, belief.since) == (state, since)
    assert word in belief.why


@given(INSTANTS, INSTANTS, INSTANTS, st.integers(1, 2), st.integers(1, 2))
def test_nobody_is_online_on_a_lease_that_is_over(document: str, record: str, now: str, said: int, epoch: int) -> None:
    presence = Presence("online", document, document, None, "gw", said, document)
    online = believed(presence, Life(epoch, record), now).state == "online"
    assert online == (said == epoch and (document >= now or record >= now))
