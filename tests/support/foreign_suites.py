"""What suites of others made of the daemon, and why it differs where it does: a part of the conformance page."""

from __future__ import annotations

SUITES = """\
## Suites of others

Run by hand against `busbridge run` with the smallest file (a gateway id and one anonymous listener); they are not in
the repository. They compare bytes; CONNACK was compared by flags and reason, for the limits in it are each broker's
own, and DISCONNECT by its reason.

- **mosquitto 2.1.2, `msg_sequence_test.py`** (1,773 sequences of bytes, most of them broken packets; 2026-11-21).
  1,430 came out as it expects, the others with another reason, as said below. Every connection ended or stayed as the
  suite wants, but for strings with control characters, which mosquitto refuses and the standard allows
  [MQTT-1.5.4-1], and for a topic alias within our maximum and over mosquitto's. What was found and mended: a client
  without room for CONNACK was sent it all the same [MQTT-3.1.2-24]; clients of 3.1 that repeat PUBREL with DUP, or
  set flags that 3.1 has no use for, were sent away; a packet of a type that is none was waited for to its end;
  packets that only a server sends were judged by their content; what is left of an expiry interval was rounded down.
- **mosquitto 2.0.11, `test/broker`** (127 scripts without those about bridges, TLS, plug-ins and password files). 77
  pass as they are. What the others want else is below, or a setting of mosquitto's that the script is about, or a
  restart that the script does with its own files, or properties in the very order in which mosquitto writes them.
- **Sequences of our own after the topics of the Paho tests, HiveMQ's `mqtt test` and the clauses** (some 300, raw
  bytes, the same file; 2026-11-21). One answer was wrong: a CONNECT of MQTT 5 whose remaining length had more bytes
  than needed was taken [MQTT-1.5.5-1].

Where the daemon does something else, and keeps to it:

- A property in a packet where it has no place is 0x81 (MQTT5 §2.2.2.2), reserved flags are 0x81 [MQTT-3.15.1-1],
  SUBSCRIBE and UNSUBSCRIBE without a filter and QoS 3 or retain handling 3 in SUBSCRIBE are 0x82 (MQTT5 §3.8.3,
  §3.8.3.1); mosquitto has 0x82 and 0x81. A filter that is none is 0x8F, mosquitto's 0x81: MQTT 5 leaves that open.
- PUBREL and PUBREC with an unknown identifier are answered with 0x92 (MQTT5 §3.6.2.1), by mosquitto with success.
- A publication without subscribers is acknowledged with 0x00; 0x10 may be said (MQTT5 §3.4.2.1), and a gateway's main
  reader is Kafka.
- A QoS 2 message reaches local subscribers when its PUBLISH is on disk, as the figure of MQTT5 §4.3.3 has it, and not
  when PUBREL comes, as with mosquitto; some suites test for the latter. A publisher with a subscription of its own has
  its PUBREC, or PUBACK, before the message.
- A will with a delay goes out at once when the session ends with the connection (MQTT5 §3.1.3.2.2), and in 3.1.1 also
  when the session was taken over, for no DISCONNECT came [MQTT-3.1.2-8].
- Payload format indicators other than 0 and 1 are refused (MQTT5 §3.3.2.3.2).
- A topic that is forwarded has to fit into a record together with its device's id and the Kafka topic, 65,535 bytes in
  all; one that does not is refused with 0x90. What stays on the gateway may be as long as the standard allows.
"""
