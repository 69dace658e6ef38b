"""`busbridge check --acl DEVICE TOPIC`: whether the device may, and which rule says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from bridge.cli.failure import FOUND, USAGE, Failure, plainly

if TYPE_CHECKING:
    from bridge.config import Config
    from bridge.security.acl import Acl


def explain_acl(config: Config, device: str, topic: str, *, subscribe: bool, named: Sequence[str]) -> None:
    """Print it; `named`: roles that the device has beside those of the members file. Failure where it may not."""
    from bridge.mqtt.topics import is_valid_filter, is_valid_name
    from bridge.security.identity import IdentityError, check_device_id

    with plainly(IdentityError, code=USAGE):
        check_device_id(device)
    if not (is_valid_filter if subscribe else is_valid_name)(topic):
        what = "topic filter" if subscribe else "topic name (to ask for a filter, add --subscribe)"
        raise Failure(f"{topic!r} is no {what}", USAGE)
    acl = load_acl(config)
    known = config.permissions.roles if config.permissions is not None else {}
    if strange := [name for name in named if name not in known]:
        raise Failure(f"there is no role {strange[0]!r}; there are: {', '.join(known) or 'none'}", USAGE)
    roles = tuple(dict.fromkeys((*acl.roles(device), *named)))
    decision = (acl.subscribing if subscribe else acl.publishing)(device, topic, roles)
    verb = "subscribe to" if subscribe else "publish on"
    having = f" (roles: {', '.join(roles)})" if roles else ""
    said = f"{device}{having} may {'' if decision.allowed else 'not '}{verb} {topic}: {decision.rule}"
    if not decision.allowed:
        raise Failure(said, FOUND)
    typer.echo(said)


def load_acl(config: Config) -> Acl:
    """Return the rules with the members of their roles. Failure where those cannot be read."""
    from bridge.security.acl import Acl
    from bridge.security.members import MembersError, read_members

    with plainly(MembersError, code=FOUND):
        return Acl(config.permissions, read_members(config.permissions))
