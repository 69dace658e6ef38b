"""The text of a first configuration: it works as it stands, and says in comments what to change."""

from __future__ import annotations

from collections.abc import Sequence

_HEAD = """\
# busbridge configuration of gateway {gateway}. Relative paths are relative to this file.
# Everything that is not here has a safe default. Check changes with: busbridge check --config THIS-FILE

[gateway]
id = "{gateway}"                # unique among all gateways that write to one Kafka
data_dir = "data"               # the queue: acknowledged messages that are not in Kafka yet

[[listeners]]                   # mutual TLS: a device gets in with a certificate of certs/ca.pem, and with nothing else
bind = "0.0.0.0:8883"
tls = {{ certificate = "certs/server.pem", private_key = "certs/server.key", \
client_ca = "certs/ca.pem", crl = "certs/crl.pem" }}

[acl]                           # what a device may do; {{device}} is the name in its certificate
publish = ["devices/{{device}}/#"]
subscribe = ["devices/{{device}}/#", "broadcast/#"]

[queue]                         # while Kafka is away
max_bytes = "8 GiB"             # full: acknowledgements wait; nothing acknowledged is ever dropped
free_space_floor = "512 MiB"    # left free on the file system, whatever max_bytes says

[[routes]]                      # the first that matches; what matches none stays on the local broker
filter = "devices/{{device}}/telemetry/#"
topic = "telemetry"
"""

_PLAIN = """\
seal = "plain"                  # AS PUBLISHED, readable by whoever reads the disk or the topic. To seal payloads
                                # instead, so that only their readers can open them, make a key pair there:
                                #     busbridge keys new data-team --out keys
                                # copy keys/data-team.pub into certs/ here, take these lines into use,
                                # and delete seal = "plain":
# seal = "seal"
# recipients = ["data-team"]
#
# [recipients.data-team]
# public_key = "certs/data-team.pub"
"""

_SEALED = """\
seal = "seal"                   # sealed before it touches the disk; only these recipients' private keys open it
recipients = [{names}]
"""

_RECIPIENT = """
[recipients.{name}]             # its private key must not be on this gateway
public_key = "certs/{name}.pub"
"""

_KAFKA = """
[kafka]
bootstrap_servers = ["{kafka}"]
delivery = "exactly_once"       # "at_least_once" where the cluster allows no transactions
# security = {{ protocol = "SASL_SSL", mechanism = "SCRAM-SHA-512", username = "{gateway}", \
password_file = "kafka.password", ca = "kafka-ca.pem" }}
dead_letter_topic = "busbridge-dead-letters"
event_topic = "busbridge-events"

[state]                         # a JSON document for each device: presence, reported and desired state
topic = "device-state"          # a compacted topic

[downlink]
desired_topic = "device-desired"    # desired state: from Kafka to the device
"""

_JSONL = """
[jsonl]                         # no Kafka was given: records go to rotated files of JSON Lines
directory = "out"               # to use Kafka, put in the place of this table:
# [kafka]
# bootstrap_servers = ["kafka-1:9092"]

[state]                         # a JSON document for each device: presence and reported state
topic = "device-state"
"""


def first_config(gateway: str, kafka: str | None, recipients: Sequence[str]) -> str:
    """Return the TOML text. The route is sealed if there is a recipient, and openly plain if there is none.

    The arguments have been checked: an id, an address and bare TOML keys.
    """
    names = ", ".join(f'"{name}"' for name in recipients)
    parts = [_HEAD.format(gateway=gateway), _SEALED.format(names=names) if recipients else _PLAIN]
    parts += [_RECIPIENT.format(name=name) for name in recipients]
    parts.append(_KAFKA.format(gateway=gateway, kafka=kafka) if kafka else _JSONL)
    return "".join(parts)
