"""SecureBroker: one Kafka with a listener for each way to log in, and two whose certificates are wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from confluent_kafka.admin import AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

from bridge.security.pki import Authority, Credential, Validity
from tests.support.kafka.broker import Broker
from tests.support.ports import free_port

PASSWORD = "what the gateway knows"
USER = "gateway"
_MODULES = "org.apache.kafka.common.security"
_LOG_INS = {
    "plain": f'{_MODULES}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";',
    "scram-sha-256": f"{_MODULES}.scram.ScramLoginModule required;",
    "scram-sha-512": f"{_MODULES}.scram.ScramLoginModule required;",
}
# Tokens without a signature: Kafka's own validator for tests checks their times all the same.
_TOKENS = f'{_MODULES}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";'
_PROTOCOLS = {
    "MUTUAL": "SSL",
    "EXPIRED": "SSL",
    "ELSEWHERE": "SSL",
    "LOGIN": "SASL_SSL",
    "TOKEN": "SASL_SSL",
    "REAUTH": "SASL_SSL",
}


class SecureBroker:
    """Runs from `start` to `stop`; PLAINTEXT on `broker.address` is the tests' own way in."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.authority = Authority.create("the cluster's CA")
        self.stranger = Authority.create("somebody else's CA")
        self.ports = {name: free_port() for name in _PROTOCOLS}
        self._directory = directory
        self.broker = Broker(directory / "kafka", properties=self._properties(), listeners=self.ports)

    def client(self, authority: Authority | None = None, *, expired: bool = False) -> Credential:
        """A certificate for the gateway."""
        return (authority or self.authority).issue_device("gw-1", _over() if expired else None)

    def start(self) -> None:
        self.broker.start()
        admin = AdminClient({"bootstrap.servers": self.broker.address})
        for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
            credential = ScramCredentialInfo(mechanism, 4096)
            user = UserScramCredentialUpsertion(USER, credential, PASSWORD.encode(), b"salt")
            admin.alter_user_scram_credentials([user])[USER].result(30)

    def stop(self) -> None:
        self.broker.kill()

    def _properties(self) -> dict[str, str]:
        protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT", **_PROTOCOLS}
        lines = {
            "listener.security.protocol.map": ",".join(f"{name}:{what}" for name, what in protocols.items()),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
            "allow.everyone.if.no.acl.found": "true",
            "listener.name.mutual.ssl.client.auth": "required",
            "listener.name.login.sasl.enabled.mechanisms": ",".join(_LOG_INS).upper(),
            # A connection whose log-in is older is closed (KIP-368).
            "listener.name.reauth.oauthbearer.connections.max.reauth.ms": "2000",
        }
        for listener in ("token", "reauth"):
            prefix = f"listener.name.{listener}"
            lines[f"{prefix}.sasl.enabled.mechanisms"] = "OAUTHBEARER"
            lines[f"{prefix}.oauthbearer.sasl.jaas.config"] = _TOKENS
        for mechanism, module in _LOG_INS.items():
            lines[f"listener.name.login.{mechanism}.sasl.jaas.config"] = module
        for name in _PROTOCOLS:
            lines |= self._stores(name.lower())
        return lines

    def _stores(self, listener: str) -> dict[str, str]:
        hosts = ("elsewhere.example",) if listener == "elsewhere" else ("localhost",)
        credential = self.authority.issue_server("kafka", hosts, _over() if listener == "expired" else None)
        keys, trusted = self._directory / f"{listener}.pem", self._directory / "trusted.pem"
        # Kafka wants the key first.
        keys.write_bytes(credential.key_pem() + credential.certificate_pem())
        trusted.write_bytes(self.authority.credential.certificate_pem())
        prefix = f"listener.name.{listener}.ssl"
        return {
            f"{prefix}.keystore.type": "PEM",
            f"{prefix}.keystore.location": str(keys),
            f"{prefix}.truststore.type": "PEM",
            f"{prefix}.truststore.location": str(trusted),
        }


def _over() -> Validity:
    now = datetime.now(UTC).replace(microsecond=0)
    return Validity(now - timedelta(days=2), now - timedelta(days=1))
