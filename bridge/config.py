"""Every setting and every limit of the program: its name, its unit, its default.

Only the shapes stand here; `config_file` reads TOML into them. All are frozen. Sizes are bytes, durations seconds
(both are written with units in the file: "8 GiB", "30 s"). A relative path in a loaded configuration has been made
absolute against the file's directory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from bridge.config_access import Acl as Acl
from bridge.config_access import Jwt as Jwt
from bridge.config_access import Users as Users
from bridge.config_downlink import Downlink as Downlink
from bridge.config_limits import Limits as Limits
from bridge.config_queue import Commit as Commit
from bridge.config_queue import Lane as Lane
from bridge.config_queue import Queue as Queue
from bridge.config_sparkplug import Sparkplug as Sparkplug
from bridge.quantities import GIB as GIB
from bridge.quantities import KIB as KIB
from bridge.quantities import MIB as MIB
from bridge.quantities import Address, Count, Duration, Rate, Size, Timeout


class Gateway(msgspec.Struct, frozen=True):
    """Who this gateway is and where it keeps what it must not lose."""

    id: str
    """Unique among all gateways that write to one Kafka: it is the transactional id."""
    data_dir: Path = Path("/var/lib/busbridge")
    renamed_from: str | None = None
    """This gateway's former id: its data directory is taken over under the new one. Any other gateway's is refused."""


class Tls(msgspec.Struct, frozen=True):
    """The server's certificate and the CA whose certificates let a device in."""

    certificate: Path
    private_key: Path
    client_ca: Path | None = None
    """Needed where certificates are asked for, as they are unless `authentication` says otherwise."""
    crl: Path | None = None
    min_version: Literal["1.2", "1.3"] = "1.3"
    resumption: bool = False
    """Let devices resume TLS sessions, for up to two hours and until a certificate, CA or CRL is read anew. Each
    connection then costs a ticket (about 700 bytes), each one resumed a third less CPU (docs/limits.md)."""
    renew_from: Path | None = None
    """A CA's directory (`busbridge certs init`): the daemon renews the server's certificate itself, when less than a
    third of `renew_life` is left. Best a CA of its own, for servers only, for its key lies on the gateway."""
    renew_life: Timeout = 90 * 24 * 3600.0
    """Of each certificate that is made so."""


class Listener(msgspec.Struct, frozen=True):
    """A port that devices connect to."""

    bind: Address
    tls: Tls | None = None
    anonymous: bool = False
    """Without certificates the device id is the client id."""
    insecure: bool = False
    """Needed to listen without TLS anywhere but on loopback."""
    backlog: Count = 1024
    """Connections the kernel keeps waiting for accept."""
    path: str | None = None
    """Speak WebSocket at this path, for example "/mqtt", sub-protocol `mqtt` (MQTT5 §6); without it plain MQTT."""
    authentication: tuple[Literal["certificate", "password", "jwt"], ...] = ("certificate",)
    """How devices may show who they are: a certificate, a password (`[users]`), a token as password (`[jwt]`). A
    certificate that is shown counts, whatever else is said."""
    identity: Literal["cn", "san-uri", "san-dns"] | None = None
    """What of a certificate names the device: its common name, or a subjectAltName of that kind. None: its URI
    `urn:busbridge:device:ID`, else its common name."""
    identity_template: str | None = None
    """What that name looks like, `{device}` in it once: "urn:acme:device:{device}", "{device}.devices.acme.example".
    Names that look otherwise name nobody. None: the name as it is; of a URI, what is behind urn:busbridge:device:."""
    client_id: Literal["match", "prefix", "any"] = "match"
    """What a client id must be: the device id; begin with it; or anything. With the latter two a device has a session
    for each of its client ids, and several connections at once; rights, rates and the document are the device's."""
    connections_per_identity: Count = 4
    """Connections of one device at once, and sessions of it that are kept, where `client_id` lets it have several. For
    one session more the one goes that has been alone for longest."""
    second_connection: Literal["takes-over", "refused"] = "takes-over"
    """What becomes of a connection with another client id when the device has `connections_per_identity` of them: the
    oldest gives way, or it is refused (0x97). With the same client id it takes over, always [MQTT-3.1.4-3]."""
    origins: tuple[str, ...] = ()
    """Web pages that may connect beside those of the gateway's own host name, for example "https://panel.example"; "*":
    all."""


class Mqtt(msgspec.Struct, frozen=True):
    """Limits of the protocol, as the two OASIS standards name them."""

    receive_maximum: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 128
    """QoS 1 and 2 publications a client may have unacknowledged (MQTT5 §3.2.2.3.3)."""
    max_packet_size: Annotated[Size, msgspec.Meta(ge=64, le=268_435_460)] = 1 * MIB
    """Of one packet from a client (MQTT5 §3.2.2.3.6)."""
    connect_max_bytes: Annotated[Size, msgspec.Meta(ge=64)] = 128 * KIB
    """Of its CONNECT with will and password, if that is less: nobody knows yet who it is."""
    keepalive_max_s: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 3600
    """A longer keep-alive, or none, is answered with this Server Keep Alive (MQTT5 §3.2.2.3.14); 0: any."""
    topic_alias_maximum: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 16
    """Aliases a client may set on one connection (MQTT5 §3.2.2.3.8), and we towards it if it allows as many."""
    session_expiry_max_s: Annotated[int, msgspec.Meta(ge=0, le=4_294_967_295)] = 7 * 24 * 3600
    """How long a session outlives its connection at the most (MQTT5 §3.2.2.3.2)."""
    inflight_max: Count = 64
    """QoS 1 and 2 messages to one client that wait for its acknowledgement, if it names no lower Receive Maximum."""
    inflight_max_bytes: Size = 4 * MIB
    """Of these messages: beyond it the next one waits for an acknowledgement too."""
    queue_max_messages: Count = 1000
    """Messages kept for one client beyond those in flight, while it is slow or away."""
    queue_max_bytes: Size = 4 * MIB
    """Their payloads, topics and properties."""
    queue_on_full: Literal["drop_new", "drop_oldest"] = "drop_new"
    """Which message such a client does not get when its queue is full, the newest or the oldest; what has expired goes
    first. `$SYS/broker/publish/messages/dropped` counts them. No publisher waits for it; Kafka gets them all."""
    topic_max_bytes: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 65_535
    """Of a topic name or filter. With its device's id and the Kafka topic, a topic that is forwarded has at most
    65,000 bytes or so; a longer one is refused (0x90)."""
    topic_levels_max: Annotated[int, msgspec.Meta(ge=1, le=400)] = 200
    """Of the same."""
    topic_cache_max: Count = 64
    """Checked topic names remembered for one connection."""
    subscriptions_max: Count = 256
    """Of one client."""
    subscriptions_bytes: Size = 512 * KIB
    """Of their filters; from the 17th on, each level counts with 256 bytes more. Beyond it SUBACK says 0x97."""
    check_payload_format: bool = False
    """Refuses a payload that is called UTF-8 (Payload Format Indicator 1) and is not, with reason 0x99."""
    response_information: str | None = None
    """For clients that ask for it (MQTT5 §3.2.2.3.15), e.g. "devices/{device}/answers"; None: they get none."""
    sys_interval: Duration = 10.0
    """Between two tellings of `$SYS/broker/…`; 0: never. Who may read them, `acl.subscribe` says."""


class CloudEvents(msgspec.Struct, frozen=True):
    """Attributes of a route's records with `format = "cloudevents"`; {gateway}, {device} and {topic} (of MQTT) in them
    are filled in."""

    type: str = "busbridge.message"
    """What kind of event it is; should begin with the reversed name of a domain of yours."""
    source: str = "/busbridge/{gateway}/{device}"
    """A URI reference."""
    subject: str = "{topic}"
    dataschema: str | None = None
    """URI of what describes the data."""


class Schema(msgspec.Struct, frozen=True):
    """What a route's payloads have to be: one of json, avro, protobuf and registry."""

    json: Path | None = None
    """A JSON Schema."""
    avro: Path | None = None
    """An Avro schema, in JSON; payloads are in Avro's binary encoding."""
    protobuf: Path | None = None
    """A descriptor set, as `protoc --include_imports --descriptor_set_out=FILE` writes it."""
    message: str | None = None
    """Full name of the protobuf message. With a registry: None is the first of the schema."""
    registry: Literal["gateway", "device"] | None = None
    """A schema of the [schema_registry], and who puts its id before the payload."""
    subject: str | None = None
    """Of the registry. `gateway`: whose latest schema it is; `device`: which the id must belong to; None: any."""
    max_bytes: Size = 256 * KIB
    """A larger payload does not fit, and is not looked at."""


class SchemaRegistry(msgspec.Struct, frozen=True):
    """A Confluent Schema Registry, or what speaks as one. Its answers are kept in the data directory."""

    url: str
    username: str | None = None
    """For HTTP Basic."""
    password_file: Path | None = None
    ca: Path | None = None
    """CA of its certificate; None: those of the system."""
    timeout: Timeout = 5.0
    """How long one answer may take; messages that need a schema for the first time wait for it."""
    retry: Timeout = 10.0
    """How long what could not be had is not asked for again; meanwhile messages that need it are misfits."""
    refresh: Timeout = 300.0
    """How old a subject's latest schema may become."""
    schemas_max: Count = 1000
    """Answers held in memory."""
    answer_bytes: Size = 4 * MIB
    """Of one answer."""


class Route(msgspec.Struct, frozen=True):
    """Where a topic goes; the first route that matches decides."""

    filter: str
    topic: str
    lane: str = "normal"
    seal: Literal["plain", "seal", "require_sealed"] = "seal"
    """`seal`: before it touches the disk; `require_sealed`: devices seal, and what is not sealed for one of the
    recipients is refused (MQTT 5: reason 0x99; MQTT 3.1.1 has no such answer: the connection ends)."""
    recipients: tuple[str, ...] = ()
    key: str = "device"
    """Of the record: "device"; "{2}", the second level of the MQTT topic (none, if there is no such level); "none"."""
    partition: str = "key"
    """What decides it: "key" (murmur2, as Kafka's Java client does it; without a key, the device); "device"; a number,
    "0"; or "any", which keeps no order."""
    format: Literal["headers", "cloudevents"] = "headers"
    """`cloudevents`: the attributes of CloudEvents 1.0 beside our own headers (Kafka's binary mode)."""
    cloudevents: CloudEvents = CloudEvents()
    sparkplug: Sparkplug | None = None
    """Its messages are Sparkplug B; None: they are not, or nobody looks."""
    schema: Schema | None = None
    on_invalid: Literal["dead-letter", "refuse"] = "dead-letter"
    """What becomes of a message that does not fit `schema`: taken in as a dead letter with the reason; or not taken in
    (MQTT 5: reason 0x99; MQTT 3.1.1 has no such answer: the connection ends)."""
    trace: Literal["carry", "start"] = "carry"
    """W3C trace context: `carry` on what a message brings in MQTT 5 user properties; `start` one where it brings none,
    which costs about 70 bytes on disk and makes the headers of each record differ."""


class Recipient(msgspec.Struct, frozen=True):
    """Somebody who can open sealed payloads."""

    public_key: Path


class Sealing(msgspec.Struct, frozen=True):
    """How long one content key serves a device's stream."""

    key_max_messages: Count = 100_000
    key_max_age: Timeout = 3600.0
    streams_max: Count = 100_000
    """Content keys held in memory at once, the least recently used goes first."""


class KafkaSecurity(msgspec.Struct, frozen=True):
    """How the bus side logs in."""

    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = "SCRAM-SHA-512"
    username: str | None = None
    password_file: Path | None = None
    token_endpoint: str | None = None
    """URL that gives tokens for OAUTHBEARER by the client credentials grant (RFC 6749 §4.4)."""
    client_id: str | None = None
    """Of this gateway at the token endpoint."""
    client_secret_file: Path | None = None
    scope: str | None = None
    """What the token is asked for; as the token endpoint wants it."""
    token_ca: Path | None = None
    """CA of the token endpoint's certificate; None: those of the system."""
    ca: Path | None = None
    """CA of the brokers' certificates; None: those of the system."""
    certificate: Path | None = None
    private_key: Path | None = None


class Kafka(msgspec.Struct, frozen=True):
    """The cluster and how much is put into one transaction."""

    bootstrap_servers: tuple[Address, ...]
    delivery: Literal["exactly_once", "at_least_once"] = "exactly_once"
    security: KafkaSecurity = KafkaSecurity()
    dead_letter_topic: str = "busbridge-dead-letters"
    """Empty: there is none, dead letters stay on the gateway."""
    dead_letter_max_bytes: Size = 256 * MIB
    """Of dead letters that stay on the gateway because the topic does not take them (`busbridge queue dead-letters`);
    beyond it the oldest go. They may use what `queue.free_space_floor` keeps free, and at least four segments."""
    event_topic: str = "busbridge-events"
    compression: Literal["none", "gzip", "lz4", "zstd"] = "zstd"
    compression_level: Annotated[int, msgspec.Meta(ge=1, le=22)] | None = None
    """Of zstd 1 to 22, of lz4 1 to 12, of gzip 1 to 9. None: zstd 1 (of short telemetry 3 took a third longer and came
    out no smaller), lz4 and gzip 9."""
    max_rate: Rate | None = None
    """At most so much is sent to Kafka, on the average over seconds: batches as they are on the wire, compressed. Not
    counted: what Kafka's protocol, TLS and TCP put around them. None: no bound."""
    batch_bytes: Size = 1 * MIB - 64 * KIB
    """Of one Kafka record batch; below the broker's message.max.bytes."""
    transaction_records: Count = 20_000
    transaction_bytes: Size = 16 * MIB
    linger: Duration = 0.01
    """Pause between two transactions, in which more arrives. Kafka takes about as long to end the last one, so it costs
    hardly any latency and spares the requests that ask too early."""
    transaction_timeout: Timeout = 30.0
    """Kafka aborts a transaction that stays open for longer. That of a gateway that died holds up for so long who reads
    behind it, and where its devices have moved to another gateway, documents there, the lease among them: so this is
    less than two thirds of `state.lease`."""
    request_timeout: Timeout = 10.0
    retry_backoff: Duration = 0.005
    reconnect_backoff_max: Duration = 5.0
    heartbeat: Timeout = 10.0
    """While nothing is sent, Kafka is asked so often whether it is there: an outage is known before a message waits."""
    create_topics: bool = False
    """Make topics that are not there; false: Kafka may do so, with its own defaults, where its operator lets it."""
    topic_partitions: Count = 6
    """Of topics that are made."""
    topic_replication: Count = 3
    """Of topics that are made: a cluster with fewer brokers refuses."""
    topic_retention: Timeout | None = None
    """Of topics that are made; None: as the cluster has it. The topic of device documents is compacted instead."""
    topic_timeout: Timeout = 2.0
    """How long Kafka may take to make a topic that is asked for first; then its records are dead letters."""
    topic_retry: Timeout = 60.0
    """How long such a topic is not asked for again."""
    timestamp_ahead_max: Duration = 60.0
    """A record that a wrong clock stamped further ahead than this of the time at which it is sent gets that time, and
    the header `received-at`: Kafka refuses what is too far ahead (`message.timestamp.after.max.ms`, 1 h)."""
    shape_cache: Count = 16_384
    """Streams (device, topic, flags, headers) whose encoded constant part is remembered, for each lane."""


class Jsonl(msgspec.Struct, frozen=True):
    """Rotated files of JSON Lines instead of Kafka."""

    directory: Path
    rotate_bytes: Size = 64 * MIB
    compression: Literal["none", "gzip", "zstd"] = "none"
    """Of finished files, which then end in `.jsonl.gz` or `.jsonl.zst`; the one being written is plain."""
    dead_letter_topic: str = "busbridge-dead-letters"
    """The topic in the lines of messages that do not fit their route's schema."""


class State(msgspec.Struct, frozen=True):
    """Device documents."""

    topic: str = "device-state"
    lane: str = "state"
    document_max_bytes: Size = 256 * KIB
    depth_max: Annotated[int, msgspec.Meta(ge=1, le=200)] = 64
    """Objects and arrays nested in each other, in what a device reports and in what is desired of it."""
    lease: Annotated[Duration, msgspec.Meta(ge=3)] = 60.0
    """How long this gateway's word that a device is online holds without being renewed (it is at a third of that)."""
    interval: Duration = 0.2
    """Documents wait so long for later ones: of each device only the last goes to Kafka."""
    roaming: bool = True
    """Devices may come from other gateways and go to them: what these wrote is read from the topic before each write.
    Without it a device that another gateway knows begins anew here, and the later write wins."""
    sweep: bool = False
    """Write `unknown` for devices of gateways whose lease is over, also of others."""
    sweep_margin: Duration = 30.0
    """How much the clocks of gateways may differ: a lease is over so long after its end."""


class Supervisor(msgspec.Struct, frozen=True):
    """How the device side keeps the bus side running."""

    restart_delay: Timeout = 0.5
    restart_delay_max: Timeout = 30.0
    stop_timeout: Timeout = 15.0


class Admin(msgspec.Struct, frozen=True):
    """How gateway and devices are doing, over HTTP: /health/live, /health/ready, /metrics, /status, /devices."""

    bind: Address | None = None
    """None: only `busbridge status` can ask, by a socket in the data directory."""
    insecure: bool = False
    """Needed to answer anywhere but on loopback: there is no TLS, and but for /devices no log-in."""
    token_file: Path | None = None
    """What lets a request to /devices in (`Authorization: Bearer …`), at least 32 characters (openssl rand -hex 32),
    for the service alone, or a systemd credential of that file's name. None: /devices is for the local socket only."""
    expiry_warning: Duration = 30 * 24 * 3600.0
    """How long before its end a certificate (or revocation list) becomes a concern; a quarter of its life if that is
    less."""
    keepalive: Timeout = 30.0
    """How long a silent HTTP connection is kept."""
    request_bytes: Size = 256 * KIB
    """Of one request's body."""
    connections: Count = 64
    """HTTP connections at once, those of the local socket apart; one more is hung up on."""
    watchers: Count = 8
    """Of them, those that watch devices; one more is told to come again (503)."""
    page_bytes: Size = 4 * MIB
    """Of the documents in one answer; what follows is had by asking again."""


class Log(msgspec.Struct, frozen=True):
    """What the journal sees."""

    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Config(msgspec.Struct, frozen=True):
    """One gateway's configuration: one TOML file."""

    gateway: Gateway
    listeners: tuple[Listener, ...] = ()
    mqtt: Mqtt = Mqtt()
    limits: Limits = Limits()
    acl: Acl | None = None
    users: Users | None = None
    jwt: Jwt | None = None
    queue: Queue = Queue()
    lanes: dict[str, Lane] = msgspec.field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    schema_registry: SchemaRegistry | None = None
    recipients: dict[str, Recipient] = msgspec.field(default_factory=dict)
    sealing: Sealing = Sealing()
    kafka: Kafka | None = None
    jsonl: Jsonl | None = None
    state: State | None = None
    downlink: Downlink = Downlink()
    supervisor: Supervisor = Supervisor()
    admin: Admin = Admin()
    log: Log = Log()

    @property
    def permissions(self) -> Acl | None:
        """Who may publish and subscribe to what; None: everybody to everything, on a plain local broker.

        That is one without routes and documents whose clients all come without certificates: who names himself may
        name himself anything, so the usual rules would protect nothing there.
        """
        if self.acl is not None:
            return self.acl
        forwards = self.routes or self.state is not None
        return Acl() if forwards or not all(listener.anonymous for listener in self.listeners) else None

    def lane_names(self) -> tuple[str, ...]:
        """Every lane that something can be written to, in a stable order."""
        named = [route.lane for route in self.routes]
        if self.state is not None:
            named.append(self.state.lane)
        return tuple(dict.fromkeys(named))
