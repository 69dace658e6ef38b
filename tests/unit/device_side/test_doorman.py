"""The doorman: who somebody without a certificate is, found out beside the event loop."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from joserfc import jwt
from joserfc.jwk import ECKey

from bridge.config import Config, Gateway, Jwt, Limits, Listener
from bridge.config import Users as UsersSection
from bridge.device_side.accounts import Accounts
from bridge.device_side.doorman import Doorman, Refusal
from bridge.mqtt.events import ConnectRequested
from bridge.mqtt.reasons import Reason
from bridge.security.users import hashed, put_user

NOW = 1_800_000_000.0
PASSWORD = b"correct horse"
BOTH = Listener("127.0.0.1:0", authentication=("password", "jwt"))
KEY = ECKey.generate_key("P-256", auto_kid=True)


class Waiting:
    """A connection, as far as the doorman knows one."""

    peer = "127.0.0.1:1"

    def __init__(self, resumed: Callable[[], object]) -> None:
        self.resume = resumed


@pytest.fixture
def accounts(tmp_path: Path) -> Accounts:
    put_user(tmp_path / "users", "panel-1", hashed(PASSWORD))
    (tmp_path / "keys").write_text(json.dumps({"keys": [KEY.as_dict(private=False)]}))
    return Accounts(
        Config(Gateway("gw"), users=UsersSection(tmp_path / "users"), jwt=Jwt(tmp_path / "keys", audience="gw"))
    )


def connect(username: str | None = None, password: bytes | None = None) -> ConnectRequested:
    return ConnectRequested("c", True, 5, 60, 0, None, username, password, {})


def token(**claims: object) -> bytes:
    said = {"sub": "app-1", "aud": "gw", "exp": NOW + 60, **claims}
    return jwt.encode({"alg": "ES256", "kid": KEY.kid}, said, KEY).encode()


def found(accounts: Accounts, event: ConnectRequested, listener: Listener = BOTH) -> object:
    """What a connection hears in the end."""

    async def ask() -> object:
        doorman = Doorman(asyncio.get_running_loop(), accounts, Limits(), lambda: NOW)
        resumed = asyncio.Event()
        connection = Waiting(resumed.set)
        first = doorman.ask(connection, event, listener)
        if first is None:
            assert doorman.waits(connection)
            await asyncio.wait_for(resumed.wait(), 60)
            first = doorman.ask(connection, event, listener)
        assert not doorman.waits(connection)
        doorman.close()
        return first

    return asyncio.run(ask())


def test_a_password_holds_as_long_as_it_is_in_the_file(accounts: Accounts, tmp_path: Path) -> None:
    proof = found(accounts, connect("panel-1", PASSWORD))
    assert (proof.device, proof.objection(NOW)) == ("panel-1", None)
    put_user(tmp_path / "users", "panel-2", hashed(PASSWORD))
    assert accounts.read_again() == []
    assert proof.objection(NOW) is None
    put_user(tmp_path / "users", "panel-1", hashed(PASSWORD))
    accounts.read_again()
    assert proof.objection(NOW) == "its user is gone or has another password"


def test_a_token_holds_until_it_ends(accounts: Accounts) -> None:
    proof = found(accounts, connect(None, token()))
    assert (proof.device, proof.objection(NOW), proof.objection(NOW + 59)) == ("app-1", None, None)
    assert proof.objection(NOW + 60) == "its token has expired"
    accounts.tokens.take([])
    assert proof.objection(NOW) == "its token was signed with a key that is not in force any more"


@pytest.mark.parametrize(
    ("event", "methods", "reason"),
    [
        (connect(), ("password", "jwt"), Reason.NOT_AUTHORIZED),
        (connect("panel-1"), ("password", "jwt"), Reason.NOT_AUTHORIZED),
        (connect("", PASSWORD), ("password",), Reason.NOT_AUTHORIZED),
        (connect("panel-1", b"wrong"), ("password", "jwt"), Reason.BAD_USER_NAME_OR_PASSWORD),
        (connect("app-1", token()), ("password",), Reason.BAD_USER_NAME_OR_PASSWORD),
        (connect("panel-1", PASSWORD), ("jwt",), Reason.BAD_USER_NAME_OR_PASSWORD),
        (connect(None, token(exp=NOW - 60)), ("password", "jwt"), Reason.BAD_USER_NAME_OR_PASSWORD),
    ],
)
def test_who_shows_nothing_that_counts_here_is_refused(
    accounts: Accounts, event: ConnectRequested, methods: tuple[str, ...], reason: Reason
) -> None:
    refusal = found(accounts, event, Listener("127.0.0.1:0", authentication=methods))
    assert isinstance(refusal, Refusal)
    assert refusal.reason == reason


async def test_only_so_many_wait_and_who_has_gone_is_not_called(accounts: Accounts) -> None:
    doorman = Doorman(asyncio.get_running_loop(), accounts, Limits(passwords_waiting=2), lambda: NOW)
    called: list[str] = []
    done = asyncio.Event()
    gone, kept, late = Waiting(lambda: called.append("gone")), Waiting(done.set), Waiting(lambda: called.append("late"))
    asked = [doorman.ask(each, connect("panel-1", PASSWORD), BOTH) for each in (gone, kept, late)]
    assert asked[:2] == [None, None]
    assert asked[2].reason == Reason.SERVER_BUSY
    doorman.forget(gone)
    await asyncio.wait_for(done.wait(), 60)
    assert doorman.ask(kept, connect(), BOTH).device == "panel-1"
    assert called == []
    doorman.close()


async def test_the_loop_goes_on_while_a_password_is_verified(accounts: Accounts) -> None:
    """With a hash that takes long: twenty turns of the loop come before its end."""
    slow = PasswordHasher(time_cost=30, memory_cost=32_768, parallelism=1).hash(PASSWORD)
    accounts.users.take({"slow": slow})
    doorman = Doorman(asyncio.get_running_loop(), accounts, Limits(), lambda: NOW)
    done = asyncio.Event()
    connection = Waiting(done.set)
    assert doorman.ask(connection, connect("slow", PASSWORD), BOTH) is None
    for _ in range(20):
        await asyncio.sleep(0)
    assert doorman.waits(connection)
    await asyncio.wait_for(done.wait(), 60)
    assert doorman.ask(connection, connect(), BOTH).device == "slow"
    doorman.close()
