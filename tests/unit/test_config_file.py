"""The configuration file: what people write, what comes out, and what they are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge import config_file
from bridge.config import Acl, Config
from bridge.config_file import ConfigError, ConfigErrors

BASE = Path("/etc/busbridge")
TLS = 'tls = { certificate = "c.pem", private_key = "c.key", client_ca = "ca.pem" }'
SMALLEST = """\
[gateway]
id = "gw-001"
[[listeners]]
bind = "127.0.0.1:1883"
anonymous = true
"""
ROUTED = (
    SMALLEST
    + """\
[[routes]]
filter = "devices/{device}/telemetry/#"
topic = "telemetry"
seal = "plain"
[kafka]
bootstrap_servers = ["kafka-1:9092"]
"""
)


def parse(text: str, **environ: str) -> Config:
    return config_file.parse(text, base=BASE, name="busbridge.toml", environ=environ)


def errors(text: str, **environ: str) -> list[ConfigError]:
    with pytest.raises(ConfigErrors) as caught:
        parse(text, **environ)
    return caught.value.errors


def error(text: str, key: str, **environ: str) -> ConfigError:
    """Return the only error of a text and hold it to its key."""
    found = errors(text, **environ)
    assert [one.key for one in found] == [key], [str(one) for one in found]
    return found[0]


def test_the_smallest_file_is_a_plain_broker() -> None:
    config = parse(SMALLEST)
    assert config.gateway.id == "gw-001"
    assert config.routes == ()
    assert config.kafka is None
    assert config.listeners[0].anonymous is True


@pytest.mark.parametrize(
    ("extra", "allowed"),
    [
        ("", None),
        ("[acl]\n", Acl()),
        ('[acl]\npublish = ["a/#"]\n', Acl(publish=("a/#",))),
        ('[state]\ntopic = "s"\n[jsonl]\ndirectory = "out"\n', Acl()),
        (f'[[listeners]]\nbind = "127.0.0.1:8883"\n{TLS}\n', Acl()),
    ],
)
def test_only_a_plain_broker_without_rules_is_open_to_all(extra: str, allowed: Acl | None) -> None:
    """Who names himself may name himself anything: there the usual rules would protect nothing."""
    assert parse(SMALLEST + extra).permissions == allowed


def test_a_route_and_kafka_are_all_a_bridge_needs() -> None:
    config = parse(ROUTED)
    assert config.kafka is not None
    assert config.kafka.delivery == "exactly_once"
    assert config.lane_names() == ("normal",)


def test_units_become_bytes_and_seconds() -> None:
    config = parse(SMALLEST + '[queue]\nmax_bytes = "1.5 GiB"\n[queue.commit]\nmax_delay = "250us"\n')
    assert config.queue.max_bytes == 3 << 29
    assert config.queue.commit.max_delay == pytest.approx(0.00025)


def test_paths_are_relative_to_the_file() -> None:
    config = parse(f'[gateway]\nid = "g"\ndata_dir = "/data"\n[[listeners]]\nbind = "[::]:8883"\n{TLS}\n')
    assert config.gateway.data_dir == Path("/data")
    assert config.listeners[0].tls is not None
    assert config.listeners[0].tls.certificate == BASE / "c.pem"


def test_texts_take_variables_from_the_environment() -> None:
    config = parse(SMALLEST.replace("gw-001", "gw-${SITE}-$$"[:-3]), SITE="7")
    assert config.gateway.id == "gw-7"


def test_a_dollar_sign_can_be_written() -> None:
    config = parse(ROUTED.replace("devices/{device}", "$$SYS/${A}"), A="x")
    assert config.routes[0].filter == "$SYS/x/telemetry/#"


def test_a_variable_that_is_not_set_is_an_error() -> None:
    found = error(SMALLEST.replace("gw-001", "${SITE}"), "gateway.id")
    assert "SITE is not set" in found.problem
    assert found.line == 2


def test_what_a_variable_holds_is_not_printed() -> None:
    found = error(SMALLEST + '[log]\nlevel = "${SECRET}"\n', "log.level", SECRET="hunter2")
    assert "hunter2" not in str(found)
    assert "${SECRET}" in found.problem


def test_an_error_says_file_line_key_problem_and_what_is_allowed() -> None:
    found = error(SMALLEST + '[log]\nformat = "xml"\n', "log.format")
    assert str(found) == ('busbridge.toml:7: log.format: "xml" is not one of the choices; allowed: "text", "json"')


@pytest.mark.parametrize(
    ("extra", "key", "line", "words"),
    [
        ('[mqtt]\nmax_packet_sise = "1 MiB"\n', "mqtt.max_packet_sise", 7, 'did you mean "max_packet_size"?'),
        ("[kakfa]\nx = 1\n", "kakfa", 6, 'did you mean "kafka"?'),
        ("[lanes.alarm]\nwieght = 3\n", "lanes.alarm.wieght", 7, 'did you mean "weight"?'),
        ("[log]\nzzz = 3\n", "log.zzz", 7, "format, level"),
        ('[queue]\nmax_bytes = "8 GB"\n', "queue.max_bytes", 7, "'GB' is not a known unit"),
        ("[queue]\nmax_bytes = 8\n", "queue.max_bytes", 7, "GiB"),
        ('[queue]\nmax_bytes = "0 B"\n', "queue.max_bytes", 7, "at least 1 B"),
        ('[limits]\nconnect_timeout = "10"\n', "limits.connect_timeout", 7, "a text with a unit"),
        ('[limits]\nconnect_timeout = "0 s"\n', "limits.connect_timeout", 7, "more than 0 s"),
        ("[limits]\nconnections = true\n", "limits.connections", 7, "a whole number, at least 1"),
        ("[limits]\nconnections = 1.5\n", "limits.connections", 7, "a whole number"),
        ("[mqtt]\nreceive_maximum = 70_000\n", "mqtt.receive_maximum", 7, "at most 65535"),
        ("[acl]\npublish = [\n'a',\n5]\n", "acl.publish[1]", 9, "a text"),
        ('[acl]\npublish = "a"\n', "acl.publish", 7, "an array, each a text"),
        ("[recipients.team]\n", "recipients.team.public_key", 6, "is missing"),
        ("[lanes.Alarm]\nweight = 1\n", "lanes.Alarm", 6, "no name for a lane"),
        ('[supervisor]\nrestart_delay = "1 h"\n', "supervisor.restart_delay", 7, "30 s"),
        ("[queue]\nencrypt = true\n", "queue.encrypt", 7, "encrypt_key_file"),
        ("log = 5\n", "listeners[0].log", 6, "unknown key"),
        ('[acl]\npublish = ["a/#/b"]\n', "acl.publish[0]", 7, "topic filter"),
        ('[acl]\nsubscribe = ["a/{devise}"]\n', "acl.subscribe[0]", 7, "{device}"),
        ('[acl.roles.x]\ndeny_publish = ["#/a"]\n', "acl.roles.x.deny_publish[0]", 7, "topic filter"),
        ('[acl]\nmembers_file = "m"\n', "acl.members_file", 7, "[acl.roles.NAME]"),
        ('[downlink]\ndesired_topic = "d"\n', "downlink.desired_topic", 7, "a [kafka] table"),
        ("[state]\n", "state", 6, "device documents go nowhere"),
    ],
)
def test_a_wrong_value_is_explained(extra: str, key: str, line: int, words: str) -> None:
    found = error(SMALLEST + extra, key)
    assert found.line == line
    assert words in str(found)


@pytest.mark.parametrize(
    ("setting", "key", "words"),
    [
        ("authentication = []", "authentication", "is empty"),
        ('authentication = ["password"]', "authentication", "a [users] table"),
        ('authentication = ["certificate", "jwt"]', "authentication", "a [jwt] table"),
        ('authentication = ["card"]', "authentication[0]", '"certificate", "password", "jwt"'),
        ('identity = "san-dns"\nidentity_template = "x"', "identity_template", "with {device} in it once"),
        ('identity_template = "x{device}"', "identity_template", 'identity = "cn"'),
    ],
)
def test_who_comes_in_has_to_be_told_apart(setting: str, key: str, words: str) -> None:
    text = f'[gateway]\nid = "gw"\n[[listeners]]\nbind = "0.0.0.0:8883"\n{TLS}\n{setting}\n'
    assert words in str(error(text, f"listeners[0].{key}"))


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        ('authentication = ["password"]\n[users]\nfile = "u"', "authentication"),
        ('identity = "cn"', "identity"),
        ('client_id = "any"', "client_id"),
        ('second_connection = "refused"', "second_connection"),
    ],
)
def test_without_tls_there_is_nothing_to_tell_them_apart_by(setting: str, key: str) -> None:
    assert "without tls" in str(error(SMALLEST + setting, f"listeners[0].{key}"))


def test_whose_certificates_count_has_to_be_said_where_they_are_asked_for() -> None:
    tls = TLS.replace(', client_ca = "ca.pem"', "")
    text = f'[gateway]\nid = "gw"\n[[listeners]]\nbind = "0.0.0.0:8883"\n{tls}\n'
    assert "whose certificates" in str(error(text, "listeners[0].tls.client_ca"))
    assert parse(f'{text}authentication = ["password"]\n[users]\nfile = "u"\n').users is not None


def test_syntax_errors_have_their_line() -> None:
    found = error("[gateway]\nid = \n", "")
    assert found.line == 2
    assert found.problem.startswith("not TOML: Invalid value")
    assert error("[gateway]\nid = 'x", "").line == 2


def test_everything_that_is_missing_is_said_at_once() -> None:
    assert [one.key for one in errors("")] == ["gateway", "listeners"]


def test_all_errors_come_in_one_go_in_the_order_of_the_file() -> None:
    text = f"""\
[gateway]
id = "gw/001"
[[listeners]]
bind = "0.0.0.0:8883"
{TLS}
[[listeners]]
bind = "0.0.0.0:1883"
[queue]
max_bytes = "many"
[[routes]]
filter = "a/#"
topic = "two words"
recipients = ["nobody"]
[log]
level = "loud"
"""
    assert [(one.line, one.key) for one in errors(text)] == [
        (2, "gateway.id"),
        (6, "listeners[1].anonymous"),
        (7, "listeners[1].bind"),
        (9, "queue.max_bytes"),
        (10, "routes"),
        (12, "routes[0].topic"),
        (13, "routes[0].recipients[0]"),
        (15, "log.level"),
    ]


def test_a_misspelt_table_is_not_also_missed_as_a_sink() -> None:
    assert error(ROUTED.replace("[kafka]", "[kafak]"), "kafak").line == 10


@pytest.mark.parametrize(
    ("bind", "rest", "keys"),
    [
        ("127.0.0.1:1883", "anonymous = true", []),
        ("localhost:1883", "anonymous = true", []),
        ("[::1]:1883", "anonymous = true", []),
        ("127.0.0.1:1883", "", ["listeners[0].anonymous"]),
        ("0.0.0.0:1883", "anonymous = true", ["listeners[0].bind"]),
        ("192.168.0.1:1883", "anonymous = true", ["listeners[0].bind"]),
        ("0.0.0.0:1883", "anonymous = true\ninsecure = true", []),
        ("0.0.0.0:8883", TLS, []),
        ("0.0.0.0:8883", f"{TLS}\nanonymous = true", ["listeners[0].anonymous"]),
        ("127.0.0.1:80", 'anonymous = true\npath = "/mqtt"\norigins = ["*"]', []),
        ("127.0.0.1:80", 'anonymous = true\npath = "mqtt"', ["listeners[0].path"]),
        ("127.0.0.1:80", 'anonymous = true\norigins = ["*"]', ["listeners[0].origins"]),
        ("1883", TLS, ["listeners[0].bind"]),
        ("0.0.0.0:99999", TLS, ["listeners[0].bind"]),
    ],
)
def test_who_may_listen_without_tls(bind: str, rest: str, keys: list[str]) -> None:
    text = f'[gateway]\nid = "g"\n[[listeners]]\nbind = "{bind}"\n{rest}\n'
    if keys:
        assert [one.key for one in errors(text)] == keys
    else:
        assert parse(text).listeners[0].bind == bind


def test_two_listeners_cannot_have_one_port() -> None:
    second = '[[listeners]]\nbind = "127.0.0.1:1883"\nanonymous = true\n'
    assert error(SMALLEST + second, "listeners[1].bind").line == 7


@pytest.mark.parametrize(
    ("change", "key", "words"),
    [
        (('seal = "plain"', 'seal = "seal"'), "routes[0].recipients", "needs somebody"),
        (('seal = "plain"', 'seal = "seal"\nrecipients = ["x"]'), "routes[0].recipients[0]", "no recipient"),
        (('seal = "plain"', 'seal = "plain"\nrecipients = []\nlane = "a/b"'), "routes[0].lane", "no name for a lane"),
        (("[kafka]", "[state]\nlane = 'normal'\n[kafka]"), "routes[0].lane", "the lane of the device documents"),
        (("telemetry/#", "telemetry#"), "routes[0].filter", "topic filter"),
        (("devices/{device}", "$share/group"), "routes[0].filter", "topic filter"),
        (('topic = "telemetry"', 'topic = ".."'), "routes[0].topic", "no Kafka topic"),
        (("[kafka]", "[jsonl]\ndirectory = 'out'\n[kafka]"), "jsonl", "records go to one place"),
        (('["kafka-1:9092"]', "[]"), "kafka.bootstrap_servers", "names no server"),
        (('["kafka-1:9092"]', '["kafka-1"]'), "kafka.bootstrap_servers[0]", "not HOST:PORT"),
    ],
)
def test_routes_and_sinks_fit_together(change: tuple[str, str], key: str, words: str) -> None:
    assert words in str(error(ROUTED.replace(*change), key))


def test_routes_without_a_sink_lead_nowhere() -> None:
    assert "lead nowhere" in error(ROUTED[: ROUTED.index("[kafka]")], "routes").problem


def test_a_second_route_with_the_same_filter_never_matches() -> None:
    again = '[[routes]]\nfilter = "devices/{device}/telemetry/#"\ntopic = "b"\nseal = "plain"\n'
    assert error(ROUTED + again, "routes[1].filter").line == 13


OAUTH = (
    '{ protocol = "SASL_SSL", mechanism = "OAUTHBEARER", client_id = "c", client_secret_file = "s", '
    'token_endpoint = "%s"%s }'
)


@pytest.mark.parametrize(
    ("security", "key"),
    [
        ('{ protocol = "SASL_SSL" }', "kafka.security"),
        ('{ protocol = "SASL_SSL", username = "u" }', "kafka.security"),
        ('{ username = "u", password_file = "p" }', "kafka.security.username"),
        ('{ protocol = "SASL_SSL", mechanism = "OAUTHBEARER", token_endpoint = "https://a" }', "kafka.security"),
        (OAUTH % ("https://a/", ', username = "u"'), "kafka.security.username"),
        (OAUTH % ("http://a/", ""), "kafka.security.token_endpoint"),
        (OAUTH % ("https:", ""), "kafka.security.token_endpoint"),
        ('{ protocol = "SASL_SSL", username = "u", password_file = "p", scope = "s" }', "kafka.security.scope"),
        ('{ ca = "ca.pem" }', "kafka.security.ca"),
        ('{ protocol = "SSL", certificate = "c" }', "kafka.security.certificate"),
    ],
)
def test_kafka_security_is_used_or_refused(security: str, key: str) -> None:
    assert error(ROUTED + f"security = {security}\n", key).line == 12


def test_kafka_with_tokens_is_read() -> None:
    config = parse(ROUTED + "security = " + OAUTH % ("http://localhost:80/token", ', scope = "kafka"') + "\n")
    assert config.kafka is not None
    assert config.kafka.security.client_secret_file == BASE / "s"


def test_kafka_with_an_account_is_read() -> None:
    config = parse(ROUTED + 'security = { protocol = "SASL_SSL", username = "gw", password_file = "kafka-password" }\n')
    assert config.kafka is not None
    assert config.kafka.security.password_file == BASE / "kafka-password"


@pytest.mark.parametrize(
    ("extra", "keys"),
    [
        ('[queue]\nsegment_bytes = "1 MiB"\n', ["queue.segment_bytes"]),
        ('[queue]\nmax_bytes = "16 MiB"\n', ["queue.max_bytes"]),
        ('[lanes.normal]\nsegment_bytes = "1 MiB"\n', ["lanes.normal.segment_bytes"]),
        ('[mqtt]\nmax_packet_size = "4 MiB"\n', ["downlink.segment_bytes"]),
        ('[queue]\nsegment_bytes = "2 MiB"\n', ["queue.segment_bytes"]),
        ('[queue]\ntotal_max_bytes = "63 MiB"\n[state]\n', ["queue.total_max_bytes"]),
        ('[queue]\nsegment_bytes = "3 MiB"\nmax_bytes = "8 MiB"\n', ["queue.max_bytes"]),
        ('[mqtt]\nmax_packet_size = "64 KiB"\n[queue]\nsegment_bytes = "247 KiB"\n', ["queue.segment_bytes"]),
        ('[mqtt]\nmax_packet_size = "64 KiB"\n[queue]\nsegment_bytes = "248 KiB"\nmax_bytes = "992 KiB"\n', []),
    ],
)
def test_a_message_fits_into_a_segment_and_segments_into_a_lane(extra: str, keys: list[str]) -> None:
    if keys:
        assert [one.key for one in errors(ROUTED + extra)] == keys
    else:
        assert parse(ROUTED + extra).queue.segment_bytes == 248 << 10


@pytest.mark.parametrize(
    ("extra", "keys"),
    [
        ('[queue]\non_full = "drop_oldest"\n[state]\n', ["lanes.state.on_full"]),
        ('[lanes.state]\non_full = "drop_oldest"\n[state]\n', ["lanes.state.on_full"]),
        ('[queue]\non_full = "drop_oldest"\n[lanes.state]\non_full = "block"\n[state]\n', []),
        ('[lanes.normal]\non_full = "drop_oldest"\n[state]\n', []),
        ('[queue]\nmax_age = "2 d"\n[state]\n', ["lanes.state.max_age"]),
        ('[queue]\nmax_age = "2 d"\n[lanes.state]\nmax_age = "0 s"\n[state]\n', []),
        ('[lanes.normal]\non_full = "drop"\n', ["lanes.normal.on_full"]),
    ],
)
def test_messages_may_be_dropped_and_documents_may_not(extra: str, keys: list[str]) -> None:
    if keys:
        assert [one.key for one in errors(ROUTED + extra)] == keys
    else:
        assert parse(ROUTED + extra).state is not None


def test_what_is_defined_and_not_used_is_a_warning() -> None:
    config = parse(ROUTED + "[lanes.alarm]\nweight = 8\n[recipients.team]\npublic_key = 'team.pub'\n")
    assert config_file.warnings(config) == [
        "lanes.alarm: no route uses this lane",
        "recipients.team: no route seals for this recipient",
    ]
    assert config_file.warnings(parse(ROUTED)) == []


def test_a_file_is_loaded_with_its_own_directory_as_base(tmp_path: Path) -> None:
    path = tmp_path / "busbridge.toml"
    path.write_text(ROUTED + "[jsonl]\ndirectory = 'out'\n")
    with pytest.raises(ConfigErrors, match=rf"^{path}:12: jsonl: "):
        config_file.load(path)
    path.write_text(ROUTED.replace("[kafka]", "[jsonl]\ndirectory = 'out'\n#").replace("bootstrap", "# "))
    config = config_file.load(path)
    assert config.jsonl is not None
    assert config.jsonl.directory == tmp_path / "out"


def test_a_file_that_cannot_be_read_is_an_error_like_any_other(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match="cannot be read: No such file"):
        config_file.load(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"# \xe4\n")
    with pytest.raises(ConfigErrors, match="is not UTF-8 at byte 2"):
        config_file.load(tmp_path / "latin.toml")
