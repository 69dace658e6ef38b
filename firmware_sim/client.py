"""Making the paho client of one simulated device: its protocol version, its certificate, its session."""

from __future__ import annotations

import ssl
import time

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MessageState, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from firmware_sim.plan import Plan, Version


class Client(paho.Client):
    """paho's client, with one thing put right.

    Each attempt to reconnect takes every message back to where it is to be resumed, and a second one in a row (the
    first was refused, or ended before CONNACK) takes a QoS 2 message whose PUBREC had come back to PUBLISH: a second
    message to a server that has its PUBREL already [MQTT-4.3.3-6].
    """

    def _messages_reconnect_reset_out(self) -> None:
        released = [m for m in self._out_messages.values() if m.state == MessageState.MQTT_MS_RESEND_PUBREL]
        super()._messages_reconnect_reset_out()
        for message in released:
            message.state = MessageState.MQTT_MS_RESEND_PUBREL


def make_client(plan: Plan, device: str, version: Version) -> Client:
    """Build a client that keeps its session and is ready for `reconnect()`.

    Raises:
        OSError: the device's certificate or the CA cannot be read (ssl.SSLError is one).
    """
    five = version == "5"
    client = _bare_client(device, clean=None if five else False)
    _aim(client, plan, device)
    client.max_inflight_messages_set(0)  # the device keeps the window; paho forgets its own when it reconnects
    expiry = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho annotates all but this
    expiry.SessionExpiryInterval = plan.session_expiry_s
    clean_start = paho.MQTT_CLEAN_START_FIRST_ONLY if plan.fresh else False
    client.connect_async(
        plan.host,
        plan.port,
        plan.keepalive_s,
        clean_start=clean_start if five else paho.MQTT_CLEAN_START_FIRST_ONLY,
        properties=expiry if five else None,
    )
    return client


def clear_session(plan: Plan, device: str) -> None:
    """Connect once as MQTT 3.1.1 with a clean session and leave: what the server kept of an earlier run is gone.

    MQTT 5 has Clean Start for it; in 3.1.1 a clean session and a kept one are different connections. Blocks.

    Raises:
        OSError: no connection, or none in `connect_timeout_s`.
    """
    client = _bare_client(device, clean=True)
    _aim(client, plan, device)
    client.connect(plan.host, plan.port, plan.keepalive_s)
    deadline = time.monotonic() + plan.connect_timeout_s
    while not client.is_connected():
        if client.loop(0.1) != paho.MQTT_ERR_SUCCESS or time.monotonic() > deadline:
            raise ConnectionError("no CONNACK for a clean session")
    client.disconnect()
    while client.socket() is not None and time.monotonic() < deadline:
        client.loop(0.1)


def _bare_client(device: str, clean: bool | None) -> Client:
    protocol = MQTTProtocolVersion.MQTTv5 if clean is None else MQTTProtocolVersion.MQTTv311
    return Client(
        CallbackAPIVersion.VERSION2, device, clean_session=clean, protocol=protocol, reconnect_on_failure=False
    )


def _aim(client: paho.Client, plan: Plan, device: str) -> None:
    client.connect_timeout = plan.connect_timeout_s
    if plan.ca is None:
        return
    context = ssl.create_default_context(cafile=str(plan.ca))
    if plan.certs is not None:
        certificate = plan.certs / f"{device}.pem"
        certificate.stat()  # names the file where there is none; OpenSSL would not
        context.load_cert_chain(certificate)
    client.tls_set_context(context)
