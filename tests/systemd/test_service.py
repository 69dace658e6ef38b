"""The unit under a real systemd: what an operator does with it, and what may happen to it."""

from __future__ import annotations

import re
import time

from tests.systemd.gateway import Gateway, eventually
from tests.systemd.machine import Machine


def test_it_is_active_once_it_listens(gateway: Gateway) -> None:
    assert gateway.shows("ActiveState") == "active"
    assert gateway.shows("StatusText").startswith("listening on")
    assert gateway.publish("first") == 0
    assert eventually(lambda: '"first"' in gateway.forwarded()), gateway.journal()


def test_its_queue_is_its_own(gateway: Gateway) -> None:
    data = gateway.machine.run("stat", "-c", "%U %a", "/var/lib/busbridge").stdout.split()
    assert data == ["busbridge", "700"]
    assert f"Uid:\t{_uid(gateway.machine)}" in gateway.machine.run("cat", f"/proc/{gateway.pid}/status").stdout


def test_it_leaves_no_core_dump(gateway: Gateway) -> None:
    limits = gateway.machine.run("cat", f"/proc/{gateway.pid}/limits").stdout
    assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE)


def test_stop_is_clean_and_quick(gateway: Gateway) -> None:
    assert gateway.publish("before the stop") == 0
    begun = time.monotonic()
    gateway.systemctl("stop")
    assert time.monotonic() - begun < 10
    assert gateway.shows("ActiveState") == "inactive"
    assert gateway.shows("Result") == "success"
    assert "stopped" in gateway.journal()


def test_reload_keeps_the_process(gateway: Gateway) -> None:
    before = gateway.pid
    gateway.systemctl("reload")
    assert eventually(lambda: "re-read the certificates" in gateway.journal())
    assert gateway.pid == before
    assert gateway.publish("after the reload") == 0


def test_a_killed_daemon_is_started_again(gateway: Gateway) -> None:
    before = gateway.pid
    assert gateway.publish("before the kill") == 0
    gateway.signal("KILL")
    assert eventually(lambda: gateway.shows("ActiveState") == "active" and gateway.pid not in (0, before))
    assert gateway.publish("after the kill") == 0
    assert eventually(lambda: '"after the kill"' in gateway.forwarded()), gateway.journal()
    assert gateway.forwarded().count('"before the kill"') == 1


def test_a_daemon_that_hangs_is_started_again(gateway: Gateway) -> None:
    watched_closely(gateway.machine)
    gateway.systemctl("restart")
    before = gateway.pid
    time.sleep(3)
    assert gateway.pid == before  # as long as it answers, the watchdog leaves it alone
    gateway.signal("STOP")
    assert eventually(lambda: gateway.shows("ActiveState") == "active" and gateway.pid not in (0, before), 40)
    assert gateway.publish("after the watchdog") == 0


def test_a_configuration_that_cannot_be_used_is_not_tried_again(configured: Machine) -> None:
    gateway = Gateway(configured)
    file = configured.root / "etc" / "busbridge" / "busbridge.toml"
    good = file.read_text()
    file.write_text(good.replace("bind", "bnid"))
    try:
        assert gateway.systemctl("start", check=False).returncode != 0
        assert gateway.shows("ActiveState") == "failed"
        assert gateway.shows("ExecMainStatus") == "2"
        assert 'did you mean "bind"?' in gateway.journal()
    finally:
        file.write_text(good)
        gateway.systemctl("reset-failed")


def test_it_sees_little_of_the_machine(gateway: Gateway) -> None:
    table = gateway.machine.run("systemd-analyze", "security", "--no-pager", "busbridge.service").stdout
    exposure = re.search(r"Overall exposure level for busbridge.service: ([0-9.]+)", table)
    assert exposure is not None
    assert float(exposure[1]) < 2.5, table


def watched_closely(machine: Machine) -> None:
    """Lets systemd wait 2 seconds instead of 30 for a sign of life, until the next boot."""
    folder = "/run/systemd/system/busbridge.service.d"
    machine.run("mkdir", "-p", folder)
    machine.run("sh", "-c", f"printf '[Service]\\nWatchdogSec=2\\n' > {folder}/watchdog.conf")
    machine.run("systemctl", "daemon-reload")


def _uid(machine: Machine) -> str:
    return machine.run("id", "-u", "busbridge").stdout.strip()
