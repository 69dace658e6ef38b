"""What has to fit together in a configuration, a function a rule. Judges structs, not text, and touches no file."""

from __future__ import annotations

import contextlib
import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from bridge.address import AddressError, is_loopback
from bridge.config import KIB, Acl, Config, Kafka, KafkaSecurity, Lane, Listener, Route
from bridge.config_access import Role
from bridge.config_file.errors import Finding, KeyPath
from bridge.config_file.route_rules import route_doubts, route_findings
from bridge.device_filter import DeviceFilter
from bridge.mqtt.topics import SHARE_PREFIX, is_valid_filter
from bridge.units import format_size

RECORD_OVERHEAD: Final = 48 * KIB
"""Bytes that a packet may grow by on its way into a record: names, headers (at most 64 KiB of them), the seal."""
SEGMENT_OVERHEAD: Final = 12 * KIB
"""Bytes of a half segment that are no record's: headers and padding."""
SEGMENTS_MIN: Final = 4
"""A lane whose bound does not hold as many segments makes them smaller."""

_NAME = r"[A-Za-z0-9._-]{1,%d}"
GATEWAY_ID: Final = re.compile(_NAME % 128, re.ASCII)
_KAFKA_TOPIC = re.compile(_NAME % 249, re.ASCII)
_LANE = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}", re.ASCII)
_URL_PATH = re.compile(r"/[A-Za-z0-9._~/-]*", re.ASCII)
GATEWAY_ID_ALLOWED: Final = "1 to 128 of the characters A-Z a-z 0-9 . _ -"
_KAFKA_TOPIC_ALLOWED = '1 to 249 of the characters A-Z a-z 0-9 . _ - (and neither "." nor "..")'
_FILTER_ALLOWED = 'an MQTT topic filter: + alone in its level, # alone in the last, "{device}" for the device id'
_LEVELS: Final[Mapping[str, int]] = MappingProxyType({"gzip": 9, "lz4": 12, "zstd": 22})
"""Of each compression, the highest level."""
_ACCOUNT = ("username", "password_file")
_TOKEN = ("token_endpoint", "client_id", "client_secret_file")
_TOKEN_TOO = ("scope", "token_ca")
_LANE_ALLOWED = "1 to 32 of the characters a-z 0-9 _ -, a letter or digit first"

Rule = Callable[[Config], Iterator[Finding]]


def broken_rules(config: Config) -> list[Finding]:
    """Return every rule across fields that `config` breaks, with the place to blame."""
    return [finding for rule in _RULES for finding in rule(config)]


def second_thoughts(config: Config) -> list[Finding]:
    """Return what is allowed and yet is probably a mistake."""
    used = set(config.lane_names())
    sealed_for = {name for route in config.routes for name in route.recipients}
    unused_lanes = [Finding(("lanes", lane), "no route uses this lane") for lane in config.lanes if lane not in used]
    unused_keys = [
        Finding(("recipients", name), "no route seals for this recipient")
        for name in config.recipients
        if name not in sealed_for
    ]
    doubts = [doubt for index, route in enumerate(config.routes) for doubt in route_doubts(route, ("routes", index))]
    return unused_lanes + unused_keys + doubts


def _gateway_id(config: Config) -> Iterator[Finding]:
    if not GATEWAY_ID.fullmatch(config.gateway.id):
        yield Finding(("gateway", "id"), f'"{config.gateway.id}" is no gateway id', GATEWAY_ID_ALLOWED)


def _listeners(config: Config) -> Iterator[Finding]:
    if not config.listeners:
        yield Finding(("listeners",), "there is none, so no device could connect", "at least one [[listeners]]")
    seen: set[str] = set()
    for index, listener in enumerate(config.listeners):
        path = ("listeners", index)
        yield from _authentication(config, listener, path)
        yield from _without_tls(listener, path) if listener.tls is None else _with_tls(listener, path)
        yield from _web_socket(listener, path)
        if listener.bind in seen and not listener.bind.endswith(":0"):
            yield Finding((*path, "bind"), f'"{listener.bind}" is bound by an earlier listener')
        seen.add(listener.bind)


def _networks(config: Config) -> Iterator[Finding]:
    for index, network in enumerate(config.limits.address_exempt):
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            yield Finding(("limits", "address_exempt", index), str(error), 'for example "10.1.0.0/16" or "fd00::/8"')


def _authentication(config: Config, listener: Listener, path: KeyPath) -> Iterator[Finding]:
    methods, path = listener.authentication, (*path, "authentication")
    if not methods:
        yield Finding(path, "is empty, so nobody could come", '"certificate", "password", "jwt"')
    if listener.tls is None and set(methods) != {"certificate"}:
        yield Finding(path, "without tls passwords and tokens could be read on the way", "a tls table beside it")
    if "password" in methods and config.users is None:
        yield Finding(path, "there are no users", "a [users] table", needs=(("users",),))
    if "jwt" in methods and config.jwt is None:
        yield Finding(path, "nothing says which tokens are good", "a [jwt] table", needs=(("jwt",),))
    if listener.tls is not None and "certificate" in methods and listener.tls.client_ca is None:
        problem = "is missing: whose certificates let a device in?"
        yield Finding((*path[:-1], "tls", "client_ca"), problem, "a path, as a text")


def _without_tls(listener: Listener, path: KeyPath) -> Iterator[Finding]:
    if not listener.anonymous:
        yield Finding(
            (*path, "anonymous"),
            "without tls nothing says who a device is, so its client id has to be believed",
            "a tls table, or anonymous = true",
        )
    for key in ("identity", "identity_template"):
        if getattr(listener, key) is not None:
            yield Finding((*path, key), "without tls there is no certificate", "a tls table beside it")
    for key, usual in (("client_id", "match"), ("second_connection", "takes-over")):
        if getattr(listener, key) != usual:
            yield Finding((*path, key), "without tls the client id is the device id", f'"{usual}"')
    try:
        reachable = not is_loopback(listener.bind)
    except AddressError:
        return  # said already, where its kind was judged
    if reachable and not listener.insecure:
        yield Finding(
            (*path, "bind"),
            f'"{listener.bind}" without tls can be reached from other machines',
            "a loopback address, a tls table, or insecure = true",
        )


def _with_tls(listener: Listener, path: KeyPath) -> Iterator[Finding]:
    template = listener.identity_template
    if template is not None and (template.count("{device}") != 1 or "}" in template.replace("{device}", "")):
        yield Finding((*path, "identity_template"), f'"{template}" names no device', "a text with {device} in it once")
    if template is not None and listener.identity is None:
        needed = 'identity = "cn", "san-uri" or "san-dns" beside it'
        yield Finding((*path, "identity_template"), "which name looks like that?", needed)
    if listener.anonymous:
        yield Finding((*path, "anonymous"), "with tls the certificate says who a device is", "leave it out")


def _web_socket(listener: Listener, path: KeyPath) -> Iterator[Finding]:
    if listener.path is None:
        if listener.origins:
            yield Finding((*path, "origins"), "only a WebSocket has origins", 'path = "/mqtt" beside it')
    elif not _URL_PATH.fullmatch(listener.path):
        yield Finding((*path, "path"), f'"{listener.path}" is no path', "/ and then any of A-Z a-z 0-9 . _ ~ / -")


def _admin(config: Config) -> Iterator[Finding]:
    bind = config.admin.bind
    if bind is None or config.admin.insecure:
        return
    with contextlib.suppress(AddressError):  # (said already, where its kind was judged)
        if not is_loopback(bind):
            yield Finding(
                ("admin", "bind"),
                f'"{bind}" can be reached from other machines, and whoever reaches it is answered',
                "a loopback address, or insecure = true",
            )


def _acl(config: Config) -> Iterator[Finding]:
    if config.acl is None:
        return
    yield from _permissions(("acl",), config.acl)
    for name, role in config.acl.roles.items():
        yield from _permissions(("acl", "roles", name), role)
    if config.acl.members_file is not None and not config.acl.roles:
        yield Finding(("acl", "members_file"), "there is no role to be a member of", "an [acl.roles.NAME] table")


def _permissions(path: KeyPath, rules: Acl | Role) -> Iterator[Finding]:
    for key in ("publish", "subscribe", "deny_publish", "deny_subscribe"):
        for index, topic_filter in enumerate(getattr(rules, key)):
            yield from _filter((*path, key, index), topic_filter)


def _routes(config: Config) -> Iterator[Finding]:
    seen: set[str] = set()
    for index, route in enumerate(config.routes):
        path = ("routes", index)
        yield from _filter((*path, "filter"), route.filter)
        yield from _kafka_topic((*path, "topic"), route.topic)
        yield from _lane_name((*path, "lane"), route.lane)
        yield from _recipients(config, route, path)
        yield from route_findings(route, path)
        if route.schema is not None and route.schema.registry is not None and config.schema_registry is None:
            problem, needs = "there is no registry", (("schema_registry",),)
            yield Finding((*path, "schema", "registry"), problem, "a [schema_registry] table", needs=needs)
        if config.state is not None and route.lane == config.state.lane:
            problem = f'"{route.lane}" is the lane of the device documents'
            yield Finding((*path, "lane"), problem, "any other lane", needs=(("state", "lane"),))
        if route.filter in seen:
            yield Finding(
                (*path, "filter"), f'"{route.filter}" is taken by an earlier route, so this one never matches'
            )
        seen.add(route.filter)


def _recipients(config: Config, route: Route, path: KeyPath) -> Iterator[Finding]:
    path, needs = (*path, "recipients"), (("recipients",),)
    if route.seal != "plain" and not route.recipients:
        problem = f'seal = "{route.seal}" needs somebody to seal for'
        yield Finding(path, problem, 'at least one recipient, or seal = "plain"')
    if route.seal == "plain" and route.recipients:
        yield Finding(path, 'seal = "plain" seals for nobody', 'no recipients, or seal = "seal"')
    known = ", ".join(f'"{name}"' for name in config.recipients) or "none is defined; add a [recipients.NAME] table"
    for index, name in enumerate(route.recipients):
        if name not in config.recipients:
            yield Finding((*path, index), f'there is no recipient "{name}"', known, needs=needs)


def _lanes(config: Config) -> Iterator[Finding]:
    for lane in config.lanes:
        yield from _lane_name(("lanes", lane), lane)
    if config.state is not None:
        name = config.state.lane
        yield from _lane_name(("state", "lane"), name)
        own = config.lanes.get(name) or Lane()
        path, problem = ("lanes", name), "device documents must not be dropped: they may be the last word of a device"
        if (own.on_full or config.queue.on_full) == "drop_oldest":
            yield Finding((*path, "on_full"), problem, '"block"', needs=(("queue", "on_full"),))
        if config.queue.max_age if own.max_age is None else own.max_age:
            yield Finding((*path, "max_age"), problem, '"0 s"', needs=(("queue", "max_age"),))


def _sink(config: Config) -> Iterator[Finding]:
    if config.kafka is not None and config.jsonl is not None:
        yield Finding(("jsonl",), "there is a [kafka] too, and records go to one place", "[kafka] or [jsonl]")
    if config.kafka is None and config.jsonl is None:
        needs: tuple[KeyPath, ...] = (("kafka",), ("jsonl",))
        if config.routes:
            yield Finding(("routes",), "routes lead nowhere", "a [kafka] or a [jsonl] table", needs=needs)
        if config.state is not None:
            yield Finding(("state",), "device documents go nowhere", "a [kafka] or a [jsonl] table", needs=needs)


def _schema_registry(config: Config) -> Iterator[Finding]:
    registry, path = config.schema_registry, ("schema_registry",)
    if registry is None:
        return
    parts = urlsplit(registry.url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
        yield Finding(
            (*path, "url"), f'"{registry.url}" is no address of a registry', "https://HOST, with a path or without"
        )
    if (registry.username is None) != (registry.password_file is None):
        yield Finding(path, "half an account", "both username and password_file, or neither")
    elif registry.username is not None and not _safe_url(registry.url):
        yield Finding((*path, "url"), "the password would go over the network in clear", "https://…")


def _downlink(config: Config) -> Iterator[Finding]:
    downlink = config.downlink
    for name, topic, what in (
        ("desired_topic", downlink.desired_topic, "desired state comes"),
        ("command_topic", downlink.command_topic, "commands come"),
    ):
        if topic is None:
            continue
        path = ("downlink", name)
        yield from _kafka_topic(path, topic)
        if config.kafka is None:
            yield Finding(path, f"{what} from Kafka alone", "a [kafka] table", needs=(("kafka",),))
    if downlink.command_topic is not None:
        yield from _commands(config, downlink.command_topic)


def _commands(config: Config, topic: str) -> Iterator[Finding]:
    path = ("downlink", "outcome_topic")
    yield from _kafka_topic(path, config.downlink.outcome_topic)
    if config.downlink.outcome_topic == topic:
        yield Finding(path, "outcomes would be read as commands", "another topic than command_topic")
    if config.state is None:
        problem = "outcomes go to Kafka by the lane of the device documents"
        yield Finding(("downlink", "command_topic"), problem, "a [state] table", needs=(("state",),))


def _state(config: Config) -> Iterator[Finding]:
    if config.state is not None:
        yield from _kafka_topic(("state", "topic"), config.state.topic)


def _kafka(config: Config) -> Iterator[Finding]:
    kafka = config.kafka
    if kafka is None:
        return
    if not kafka.bootstrap_servers:
        yield Finding(("kafka", "bootstrap_servers"), "names no server", "at least one")
    if kafka.dead_letter_topic:
        yield from _kafka_topic(("kafka", "dead_letter_topic"), kafka.dead_letter_topic)
    yield from _kafka_topic(("kafka", "event_topic"), kafka.event_topic)
    if kafka.batch_bytes > kafka.transaction_bytes:
        most = f"at most transaction_bytes, {format_size(kafka.transaction_bytes)}"
        yield Finding(("kafka", "batch_bytes"), "one batch is more than a whole transaction", most)
    most_level = _LEVELS.get(kafka.compression, 0)
    if kafka.compression_level is not None and kafka.compression_level > most_level:
        problem = f'{kafka.compression_level} is not used with compression = "{kafka.compression}"'
        path = ("kafka", "compression_level")
        yield Finding(path, problem, f"1 to {most_level}" if most_level else "none", needs=(("kafka", "compression"),))
    yield from _kafka_security(kafka)


def _kafka_security(kafka: Kafka) -> Iterator[Finding]:
    security, path = kafka.security, ("kafka", "security")
    yield from _log_in(security, path)
    tls = [name for name in ("ca", "certificate", "private_key") if getattr(security, name) is not None]
    if tls and not security.protocol.endswith("SSL"):
        yield Finding((*path, tls[0]), f'is not used with protocol = "{security.protocol}"', '"SSL", "SASL_SSL"')
    yield from _key_pair(security, path)


def _log_in(security: KafkaSecurity, path: KeyPath) -> Iterator[Finding]:
    given = [name for name in (*_ACCOUNT, *_TOKEN, *_TOKEN_TOO) if getattr(security, name) is not None]
    tokens = security.mechanism == "OAUTHBEARER"
    needed: tuple[str, ...] = _TOKEN if tokens else _ACCOUNT
    if not security.protocol.startswith("SASL"):
        for name in given[:1]:
            yield Finding((*path, name), f'is not used with protocol = "{security.protocol}"', '"SASL_SSL"')
    elif not set(needed).issubset(given):
        yield Finding(path, f'protocol = "{security.protocol}" needs an account', " and ".join(needed))
    elif strange := [name for name in given if (name in _ACCOUNT) == tokens]:
        yield Finding((*path, strange[0]), f'is not used with mechanism = "{security.mechanism}"', " and ".join(needed))
    if security.token_endpoint is not None and not _safe_url(security.token_endpoint):
        yield Finding((*path, "token_endpoint"), "the client secret would go over the network in clear", "https://…")


def _safe_url(url: str) -> bool:
    parts = urlsplit(url)
    return bool(parts.hostname) and (
        parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost"))
    )


def _key_pair(security: KafkaSecurity, path: KeyPath) -> Iterator[Finding]:
    if (security.certificate is None) != (security.private_key is None):
        have, lack = ("certificate", "private_key") if security.private_key is None else ("private_key", "certificate")
        yield Finding((*path, have), f"is of no use without {lack}", f"both {have} and {lack}, or neither")


def _segments(config: Config) -> Iterator[Finding]:
    """Whatever is taken in must fit into a segment, and a lane needs some to write and some to forward from."""
    packet = (config.mqtt.max_packet_size, ("mqtt", "max_packet_size"))
    document = (config.state.document_max_bytes if config.state else 0, ("state", "document_max_bytes"))
    queue = config.queue
    state = config.state.lane if config.state else ""
    by_default = [document if name == state else packet for name in config.lane_names() if name not in config.lanes]
    yield from _segment(("queue",), queue.segment_bytes, queue.max_bytes, max([*by_default, (0, packet[1])]))
    lanes = [config.lanes.get(name) or Lane() for name in config.lane_names()]
    least = 2 * sum(lane.segment_bytes or queue.segment_bytes for lane in lanes)
    if queue.total_max_bytes is not None and queue.total_max_bytes < least:
        allowed = f"at least two segments for each lane, {format_size(least)}"
        path = ("queue", "total_max_bytes")
        yield Finding(path, f"{format_size(queue.total_max_bytes)} is too little", allowed, needs=(path,))
    for name, lane in config.lanes.items():
        segment_bytes, max_bytes = lane.segment_bytes or queue.segment_bytes, lane.max_bytes or queue.max_bytes
        yield from _segment(("lanes", name), segment_bytes, max_bytes, document if name == state else packet)
    downlink = config.downlink
    yield from _segment(("downlink",), downlink.segment_bytes, downlink.max_bytes, max(packet, document))


def segment_least(largest: int) -> int:
    """Bytes of a segment that holds a packet of `largest` bytes: a record and a checkpoint take up to half each."""
    return -(-2 * (largest + RECORD_OVERHEAD + SEGMENT_OVERHEAD) // (4 * KIB)) * 4 * KIB


def _segment(path: KeyPath, segment_bytes: int, max_bytes: int, largest: tuple[int, KeyPath]) -> Iterator[Finding]:
    size, setting = largest
    needed = segment_least(size)
    if segment_bytes < needed:
        least = f"at least twice {'.'.join(map(str, setting))} and 120 KiB, {format_size(needed)}"
        needs: tuple[KeyPath, ...] = (setting, ("queue", "segment_bytes"))
        problem = f"{format_size(segment_bytes)} does not hold the largest message"
        yield Finding((*path, "segment_bytes"), problem, least, needs=needs)
    if max_bytes < 2 * segment_bytes:
        least = f"at least two segments, {format_size(2 * segment_bytes)}"
        needs = (("queue", "segment_bytes"), ("queue", "max_bytes"))
        yield Finding((*path, "max_bytes"), f"{format_size(max_bytes)} is too little", least, needs=needs)
    elif segment_bytes >= needed > max_bytes // SEGMENTS_MIN:
        least = f"at least {SEGMENTS_MIN} segments that each hold the largest message, "
        least += format_size(SEGMENTS_MIN * needed)
        needs = (setting, ("queue", "segment_bytes"), ("queue", "max_bytes"))
        yield Finding((*path, "max_bytes"), f"{format_size(max_bytes)} is too little", least, needs=needs)


def _encryption(config: Config) -> Iterator[Finding]:
    queue = config.queue
    if queue.encrypt and queue.encrypt_key_file is None:
        yield Finding(("queue", "encrypt"), "there is no key to encrypt with", "encrypt_key_file beside it")


def _supervisor(config: Config) -> Iterator[Finding]:
    supervisor = config.supervisor
    if supervisor.restart_delay > supervisor.restart_delay_max:
        most = f"at most restart_delay_max, {supervisor.restart_delay_max:g} s"
        yield Finding(("supervisor", "restart_delay"), "is longer than it may become", most)


def _filter(path: KeyPath, topic_filter: str) -> Iterator[Finding]:
    try:
        DeviceFilter(topic_filter)
    except ValueError as error:
        yield Finding(path, str(error), _FILTER_ALLOWED)
    else:
        if not is_valid_filter(topic_filter) or topic_filter.startswith(SHARE_PREFIX):
            yield Finding(path, f'"{topic_filter}" is no topic filter', _FILTER_ALLOWED)


def _kafka_topic(path: KeyPath, topic: str) -> Iterator[Finding]:
    if not _KAFKA_TOPIC.fullmatch(topic) or topic in (".", ".."):
        yield Finding(path, f'"{topic}" is no Kafka topic', _KAFKA_TOPIC_ALLOWED)


def _lane_name(path: KeyPath, lane: str) -> Iterator[Finding]:
    """A lane's name is the name of a directory and a part of a consumer group's."""
    if not _LANE.fullmatch(lane):
        yield Finding(path, f'"{lane}" is no name for a lane', _LANE_ALLOWED)


_RULES: Final[tuple[Rule, ...]] = (
    _gateway_id,
    _listeners,
    _networks,
    _acl,
    _routes,
    _lanes,
    _sink,
    _schema_registry,
    _downlink,
    _state,
    _kafka,
    _segments,
    _encryption,
    _supervisor,
    _admin,
)
