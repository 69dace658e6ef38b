"""Settings of who may come and do what: the shapes of `[acl]`, `[users]` and `[jwt]`, a part of `bridge.config`."""

from __future__ import annotations

from pathlib import Path

import msgspec

from bridge.quantities import Duration


class Role(msgspec.Struct, frozen=True):
    """What devices with this role may do beside what `[acl]` lets all of them do, and what they may not."""

    ou: tuple[str, ...] = ()
    """Organizational units: a device whose certificate names one of them has this role. Name none where whoever asks
    for a certificate can choose what stands in it."""
    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()
    deny_publish: tuple[str, ...] = ()
    deny_subscribe: tuple[str, ...] = ()


class Acl(msgspec.Struct, frozen=True):
    """MQTT topic filters; `{device}` stands for the device id.

    What a `deny_` filter refuses is refused whatever else allows it, what no filter allows is refused, too. A
    subscription is allowed if one filter allows all that it can match, and refused if a denied filter shares any topic
    with it. A plain local broker (no routes, no `[state]`, only anonymous listeners) without this table allows
    everything but publishing below `$SYS`, which nobody may.
    """

    publish: tuple[str, ...] = ("devices/{device}/#",)
    subscribe: tuple[str, ...] = ("devices/{device}/#", "broadcast/#")
    deny_publish: tuple[str, ...] = ()
    deny_subscribe: tuple[str, ...] = ()
    roles: dict[str, Role] = msgspec.field(default_factory=dict)
    members_file: Path | None = None
    """TOML: by the name of a role, the ids of the devices that have it, `operator = ["dev-1", "dev-2"]`. Read again
    when it changes."""


class Users(msgspec.Struct, frozen=True):
    """Who comes with a user name and a password, on listeners that let them: the user name is the device id."""

    file: Path
    """`NAME:HASH` a line, as `busbridge users add` makes them (Argon2id). Read again when it changes: who is not in it
    any more, or with another hash, is out."""


class Jwt(msgspec.Struct, frozen=True):
    """Who comes with a JSON Web Token as password, on listeners that let them; the user name says nothing then."""

    keys: Path
    """The signer's public keys: a JWKS, or one key in PEM. Read again when it changes. Nothing is fetched."""
    audience: str
    """What the token's `aud` has to be, or to have in it."""
    issuer: str | None = None
    """What its `iss` has to be; None: is not asked."""
    device_claim: str = "sub"
    """The claim that is the device id."""
    leeway: Duration = 30.0
    """By how much clocks may differ, for `exp` and `nbf`. `exp` has to be there; with it the connection ends."""
