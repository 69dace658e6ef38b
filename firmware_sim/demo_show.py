"""Show: what happens on the stage of a demonstration, in order.

The devices connect and publish; Kafka stops answering, and the devices notice nothing; it answers again, and the queue
empties. Meanwhile somebody writes a desired state for a device that is there and for one that sleeps. Then the audit.
"""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from firmware_sim.child import Child, children_of, cpu_s
from firmware_sim.demo_kafka import DemoKafka
from firmware_sim.demo_reader import LiveReader
from firmware_sim.demo_result import Result
from firmware_sim.demo_screen import Screen
from firmware_sim.demo_site import DESIRED, STATE, TELEMETRY, Site
from firmware_sim.document_audit import Documents, hold_documents, latest_documents
from firmware_sim.findings import Findings
from firmware_sim.fleet import Fleet
from firmware_sim.kafka_reader import KafkaReader
from firmware_sim.ledger import Ledger, read_ledger
from firmware_sim.plan import Plan

_CONNECT_S, _DRAIN_S, _ARRIVE_S, _DOCUMENTS_S = 30.0, 30.0, 60.0, 15.0
_BEAT_S = 0.2
_CAUGHT_UP_S = 0.2
"""Messages of so long a time are under way without any outage."""
_UNDER_WAY_NS = 500_000_000
"""What was published so shortly before an outage is caught by it."""
_KEEP_RATE = 20.0
_DESIRED = {"interval_s": 10}


class DemoError(Exception):
    """Something did not happen in time; the text says what."""


class Settings(msgspec.Struct, frozen=True):
    """What the user chose."""

    devices: int
    rate: float
    seconds: float
    outage_s: float


class Show:
    """One performance."""

    def __init__(
        self, settings: Settings, screen: Screen, site: Site, kafka: DemoKafka, daemon: Child, reader: LiveReader
    ) -> None:
        self._settings, self._screen, self._site = settings, screen, site
        self._kafka, self._daemon, self._reader = kafka, daemon, reader
        self._ledger = site.directory / "fleet.ledger"
        self._fleet = Fleet(self._plan(), self._ledger)
        *_, self._awake, self._sleeper = self._fleet.devices.values()
        self._outage = (0, 0)

    async def run(self, tell: Callable[[Result], None], *, keep: bool) -> bool:
        """Perform, give the result to `tell`, and return whether the audit was clean.

        Raises:
            DemoError: see there.
        """
        performing = asyncio.current_task()
        assert performing is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, performing.cancel)
        try:
            result = await self._perform()
            tell(result)
            if keep:
                await self._keep()
        finally:
            self._kafka.thaw()  # a frozen broker would keep everybody else from ending
            await self._fleet.stop()
        return result.findings.clean

    def _plan(self) -> Plan:
        settings = self._settings
        return Plan(
            host="127.0.0.1",
            port=self._site.port,
            devices=tuple(f"dev-{number:05d}" for number in range(1, settings.devices + 1)),
            marker="demo",
            ca=self._site.ca,
            certs=self._site.devices,
            rate=settings.rate,
            messages=max(1, round(settings.rate * settings.seconds / settings.devices)),
            qos=(1, 2),
            report_every=50,
        )

    async def _perform(self) -> Result:
        with self._screen.step(f"{self._settings.devices} devices connected by mutual TLS"):
            self._fleet.connect()
            await self._need(self._fleet.connected(_CONNECT_S), "not all devices could connect")
        processes = {"device side": self._daemon.pid, "bus side": self._bus_side()}
        before = {name: cpu_s(pid) for name, pid in processes.items()}
        showing = asyncio.create_task(self._show_progress())
        self._fleet.publish()
        await self._play()
        showing.cancel()
        cpu = {name: cpu_s(pid) - before[name] for name, pid in processes.items()}
        return await self._audit(cpu)

    async def _play(self) -> None:
        part = (self._settings.seconds - self._settings.outage_s) / 3
        with self._screen.step("published at QoS 1 and 2, through an outage of Kafka that no device noticed"):
            await asyncio.sleep(part)
            await self._suffer_outage()
            await asyncio.sleep(part)
            await self._desire()
            await self._need(self._fleet.finished(self._settings.seconds + _DRAIN_S), "not everything was acknowledged")
        with self._screen.step("queue empty: all that was acknowledged is in Kafka"):
            ledger = self._read_ledger()
            arrived = self._fleet.until(lambda: not self._reader.auditor.missing(ledger), _ARRIVE_S)
            await self._need(arrived, "acknowledged messages are missing in Kafka")

    async def _suffer_outage(self) -> None:
        began = time.time_ns() - _UNDER_WAY_NS
        self._kafka.freeze()
        self._screen.say(f"  Kafka stops answering for {self._settings.outage_s:g} s", "yellow")
        await asyncio.sleep(self._settings.outage_s)
        self._kafka.thaw()
        self._screen.say("  Kafka answers again", "yellow")
        await self._fleet.until(lambda: self._queued() < self._settings.rate * _CAUGHT_UP_S, _ARRIVE_S)
        self._outage = (began, time.time_ns())

    async def _desire(self) -> None:
        """Somebody wants something of two devices, of which one sleeps."""
        await self._sleeper.link.stop()
        value = json.dumps({"state": _DESIRED}).encode()
        for device in (self._awake, self._sleeper):
            await asyncio.to_thread(self._kafka.put, DESIRED, device.name, value)
        self._screen.say(f"  desired state written to Kafka for {self._awake.name} and {self._sleeper.name} (asleep)")
        reached = self._fleet.until(lambda: self._awake.desired is not None, _ARRIVE_S)
        await self._need(reached, f"{self._awake.name} was not told what is desired")
        self._sleeper.link.start()
        reached = self._fleet.until(lambda: self._sleeper.desired is not None, _ARRIVE_S)
        await self._need(reached, f"{self._sleeper.name} woke up and was not told what is desired")

    async def _audit(self, cpu: dict[str, float]) -> Result:
        with self._screen.step("records opened and audited, device documents compared"):
            self._reader.stop()
            if self._reader.error is not None:
                raise self._reader.error
            ledger = self._read_ledger()
            findings = self._reader.auditor.findings(ledger)
            documents = await self._compare_documents(ledger, findings)
        return Result(
            findings=findings,
            cpu_us={name: seconds * 1e6 / max(1, findings.acknowledged) for name, seconds in cpu.items()},
            calm=self._reader.auditor.to_kafka(ledger, lambda at: not self._in_outage(at)),
            outage=self._reader.auditor.to_kafka(ledger, self._in_outage),
            outage_s=self._settings.outage_s,
            kafka=self._kafka.name,
            document=documents.get(self._awake.name, {}),
            sample=self._reader.sample,
        )

    async def _compare_documents(self, ledger: Ledger, findings: Findings) -> Documents:
        """The last reports are acknowledged but may still be under way to Kafka: give them a moment."""
        deadline = time.monotonic() + _DOCUMENTS_S
        while True:
            documents = await asyncio.to_thread(_read_documents, self._kafka.address)
            tried = Findings()
            hold_documents(ledger, documents, tried)
            if tried.clean or time.monotonic() > deadline:
                findings.documents, findings.documents_wrong = tried.documents, tried.documents_wrong
                return documents
            await asyncio.sleep(_BEAT_S)

    async def _keep(self) -> None:
        await self._sleeper.link.stop()  # the user may be this device
        self._fleet.publish(_KEEP_RATE, messages=0)
        self._screen.say(f"\nEverything is left running until Ctrl-C; the fleet publishes {_KEEP_RATE:g} messages/s.")
        for name, what in self._ways_in(self._site.devices / f"{self._sleeper.name}.pem").items():
            self._screen.say(f"  {name + ':':18}{what}")
        ctrl_c = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, ctrl_c.set)
        await ctrl_c.wait()

    def _ways_in(self, certificate: Path) -> dict[str, str]:
        """Say how the user gets at everything; as the device that sleeps."""
        site, name = self._site, self._sleeper.name
        ways = {
            "MQTT, mutual TLS": f"127.0.0.1:{site.port}",
            "Kafka": self._kafka.address,
            "files": str(site.directory),
            "publish": f"mosquitto_pub -h 127.0.0.1 -p {site.port} --cafile {site.ca} --cert {certificate} "
            f"--key {certificate} -i {name} -q 1 -t devices/{name}/telemetry/main -m hello",
        }
        if self._kafka.real:  # transaction markers of the embedded one have a CRC that careful clients refuse
            ways["read"] = f"busbridge open --key {site.key} --kafka {self._kafka.address} --topic {TELEMETRY}"
        return ways

    async def _show_progress(self) -> None:
        while True:
            figures = self._fleet.figures()
            self._screen.live(
                f"{figures.published:,} published, {figures.acknowledged:,} acknowledged, "
                f"{self._reader.auditor.seen:,} in Kafka, {self._queued():,} in the gateway's queue"
            )
            await asyncio.sleep(_BEAT_S)

    def _queued(self) -> int:
        """Acknowledged, and not yet read from Kafka."""
        return max(0, self._fleet.figures().acknowledged - self._reader.auditor.seen)

    async def _need(self, happens: Awaitable[bool], otherwise: str) -> None:
        if not await happens:
            trouble = self._fleet.last_error() or self._daemon.complaints()
            raise DemoError(f"{otherwise}: {trouble}")

    def _in_outage(self, at: int) -> bool:
        return self._outage[0] <= at <= self._outage[1]

    def _read_ledger(self) -> Ledger:
        self._fleet.write_truth()
        return read_ledger([self._ledger])

    def _bus_side(self) -> int:
        children = children_of(self._daemon.pid)
        if not children:
            raise DemoError(f"the gateway has no bus side:\n{self._daemon.complaints()}")
        return children[0]


def _read_documents(address: str) -> Documents:
    with KafkaReader(address, STATE) as reader:
        return latest_documents(reader.read_to_end())
