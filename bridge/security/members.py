"""The members file of `[acl]`: which devices have which role, in TOML, `operator = ["dev-1", "dev-2"]`."""

from __future__ import annotations

import tomllib

from bridge import config
from bridge.security.acl import NO_MEMBERS, Members
from bridge.security.identity import IdentityError, check_device_id


class MembersError(Exception):
    """The members file cannot be used; says which and why."""


def read_members(rules: config.Acl | None) -> Members:
    """Return what the file that `[acl]` names says; nothing where it names none.

    Raises:
        MembersError: it cannot be read, is not TOML, or names a role that there is not or what is no device id.
    """
    if rules is None or rules.members_file is None:
        return NO_MEMBERS
    path = rules.members_file
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        return {role: _devices(role, devices, rules) for role, devices in document.items()}
    except OSError as error:
        raise MembersError(f"{path}: {error.strerror}") from error
    except (ValueError, IdentityError) as error:
        raise MembersError(f"{path}: {error}") from error


def _devices(role: str, devices: object, rules: config.Acl) -> frozenset[str]:
    if role not in rules.roles:
        raise ValueError(f"there is no [acl.roles.{role}]")
    if not isinstance(devices, list) or not all(isinstance(device, str) for device in devices):
        raise ValueError(f"{role} is no array of device ids")
    return frozenset(map(check_device_id, devices))
