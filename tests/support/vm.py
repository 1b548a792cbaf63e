"""Virtual machines with a stock Debian kernel, emulated in software: they run wherever QEMU does, and mean the same there.

A machine is driven through QEMU's guest agent, on a line of its own: no network, firewall or hung file system is in the
way of a test. Its identity is on its kernel's command line. Machines see each other on a network of their own, and reach
this machine, with the Salt master, at 10.0.2.2.
"""

import base64
import itertools
import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.vm_image import Image
from tests.support.waiting import wait_until

BOOT = 1200  # seconds: emulated machines on a busy machine are slow
# services of a machine that gets a tenth of a processor do not start within systemd's own limits
PATIENT = "systemd.default_timeout_start_sec=900 systemd.service_watchdogs=no"
# what a first boot would do again for the image as it is, and what nobody needs who does not sign in
PATIENT += " audit=0 systemd.condition-needs-update=0 systemd.mask=systemd-logind.service"
MASTER = "10.0.2.2"  # this machine, as QEMU's user network shows it


class Failed(Exception):
    """A command in a machine ended non-zero, or not at all; the text has its output."""


AWAY = (OSError, ValueError, KeyError, Failed)  # of a machine that is just booting


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str


class Line:
    """JSON lines over a socket, as QEMU's monitor and its guest agent speak."""

    def __init__(self, path: Path, timeout: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        self._socket.connect(str(path))
        self._file = self._socket.makefile("rb")

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def send(self, command: str, /, **arguments: object) -> None:
        text = json.dumps({"execute": command, "arguments": arguments})
        self._socket.sendall(text.encode() + b"\n")

    def answer(self) -> dict[str, Any]:
        line = self._file.readline()
        if not line:
            raise ConnectionError("nobody is there any more")
        return json.loads(line.lstrip(b"\xff"))


class Machine:
    """One virtual machine.

    Attributes:
        name: also its host name
        address: on the network of the machines
    """

    _numbers = itertools.count(1)

    def __init__(self, name: str, address: str, folder: Path, image: Image, port: int) -> None:
        self.name, self.address, self.folder, self._image = name, address, folder, image
        self._number, self._port = next(self._numbers), port
        self._agent: Line | None = None
        self._lock = threading.Lock()
        self._ids = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self.disks = [folder / f"{name}.qcow2"]
        argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", image.disk]
        subprocess.run([*argv, self.disks[0]], check=True)

    def add_disk(self, size: str) -> None:
        """One more empty disk, before the machine is started: /dev/vdb, /dev/vdc, ..."""
        self.disks.append(self.folder / f"{self.name}-{len(self.disks)}.qcow2")
        subprocess.run(
            ["qemu-img", "create", "-q", "-f", "qcow2", self.disks[-1], size], check=True
        )

    # -- power
    def start(self) -> None:
        """Switch on; `wait` waits for it."""
        with (self.folder / f"{self.name}.qemu").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _command(self) -> list[str]:
        identity = (
            f"ip={self.address}:::255.255.255.0:{self.name}:eth0:none "
            "ip=10.0.2.15::10.0.2.2:255.255.255.0::eth1:none "
            f"systemd.hostname={self.name} net.ifnames=0"
        )
        boot = f"root=/dev/vda rw console=ttyS0 quiet fsck.mode=skip mitigations=off {PATIENT} {identity}"
        here, mac = str(self.folder / self.name), f"52:54:00:00:{{}}:{self._number:02x}"
        # not longer than who drives it
        argv = ["setpriv", "--pdeathsig", "KILL", "--", "qemu-system-x86_64"]
        argv += ["-name", self.name, "-nodefaults", "-display", "none"]
        argv += ["-machine", "q35,accel=tcg", "-cpu", "qemu64", "-smp", "1", "-m", "1024"]
        argv += ["-kernel", str(self._image.kernel), "-initrd", str(self._image.initrd)]
        argv += ["-append", boot, "-serial", f"file:{here}.console", "-device", "virtio-rng-pci"]
        argv += ["-qmp", f"unix:{here}.qmp,server=on,wait=off"]
        for disk in self.disks:
            argv += ["-drive", f"file={disk},if=virtio,format=qcow2"]
        argv += ["-netdev", f"socket,id=class,mcast=230.0.0.1:{self._port},localaddr=127.0.0.1"]
        argv += ["-device", f"virtio-net-pci,netdev=class,mac={mac.format('01')}"]
        argv += ["-netdev", "user,id=out", "-device"]
        argv += [f"virtio-net-pci,netdev=out,mac={mac.format('02')}"]
        argv += ["-chardev", f"socket,id=agent,path={here}.agent,server=on,wait=off"]
        argv += ["-device", "virtio-serial-pci", "-device"]
        return [*argv, "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"]

    def wait(self, seconds: float = BOOT) -> None:
        """Wait until the machine has booted."""
        wait_until(f"{self.name} runs; see {self.folder}", self._runs, seconds, ignoring=AWAY)

    def _runs(self) -> bool:
        assert self._process is not None, f"{self.name} was not started"
        if self._process.poll() is not None:
            said = (self.folder / f"{self.name}.qemu").read_text(errors="replace")
            raise AssertionError(f"QEMU of {self.name} has ended: {said}")
        state = self.run("systemctl", "is-system-running", check=False, timeout=30)
        return state in ("running", "degraded")

    def reset(self) -> None:
        """Press the reset button: what was not on the disk is lost. Does not wait."""
        self._hang_up()
        self.monitor("system_reset")

    def boot(self) -> str:
        """An id that each boot has its own of."""
        return self.run("cat", "/proc/sys/kernel/random/boot_id")

    def pause(self) -> None:
        """Stop its processor: to the others it is gone without a word."""
        self.monitor("stop")

    def go_on(self) -> None:
        """Let it run again after `pause`."""
        self.monitor("cont")

    def monitor(self, command: str) -> None:
        """Give QEMU a command."""
        line = Line(self.folder / f"{self.name}.qmp", 30)
        try:
            line.answer()  # the greeting
            for each in ("qmp_capabilities", command):
                line.send(each)
                while "return" not in (said := line.answer()):
                    assert "error" not in said, f"{command}: {said}"
        finally:
            line.close()

    def kill(self) -> None:
        """End the emulator."""
        self._hang_up()
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    # -- commands
    def run(self, *argv: str, check: bool = True, timeout: float = 120, given: str = "") -> str:
        """Standard output of a command in the machine."""
        done = self.done(*argv, timeout=timeout, given=given)
        if check and done.code:
            raise Failed(f"{self.name}: {' '.join(argv)}: {done.code}\n{done.out}\n{done.err}")
        return done.out.strip()

    def sh(self, script: str, check: bool = True, timeout: float = 120) -> str:
        """The same for a line of shell."""
        return self.run("sh", "-c", script, check=check, timeout=timeout)

    def done(self, *argv: str, timeout: float = 120, given: str = "") -> Done:
        """A command in the machine, once it has ended; what it starts in the background must not keep its output open."""
        text = base64.b64encode(given.encode()).decode()
        arguments = {"path": argv[0], "arg": list(argv[1:]), "input-data": text}
        pid = self._ask("guest-exec", **arguments, **{"capture-output": True})["pid"]
        deadline, pause = time.monotonic() + timeout, 0.1
        while not (said := self._ask("guest-exec-status", pid=pid))["exited"]:
            if time.monotonic() > deadline:
                raise Failed(f"{self.name}: {' '.join(argv)}: not within {timeout:g} s")
            time.sleep(pause)
            pause = min(2, pause * 1.5)  # each question takes the machine some of its little time
        out, err = (
            base64.b64decode(said.get(f"{which}-data", "")).decode(errors="replace")
            for which in ("out", "err")
        )
        return Done(said.get("exitcode", -said.get("signal", 0)), out, err)

    def write(self, path: str, text: str) -> None:
        """Write a file of root's."""
        self.run("sh", "-c", 'mkdir -p "$(dirname "$0")" && cat >"$0"', path, given=text)

    def _ask(self, command: str, /, **arguments: object) -> Any:
        with self._lock:
            try:
                if self._agent is None:
                    self._agent = self._connected()
                self._agent.send(command, **arguments)
                said = self._agent.answer()
            except OSError:
                self._hang_up()
                raise
        if "error" in said:
            raise Failed(f"{self.name}: {command}: {said['error']}")
        return said["return"]

    def _connected(self) -> Line:
        """A line to the agent on which nothing of earlier questions is left."""
        line, ident = Line(self.folder / f"{self.name}.agent", 30), next(self._ids)
        try:
            line.send("guest-sync", id=ident)
            while line.answer().get("return") != ident:
                pass
        except BaseException:
            line.close()
            raise
        return line

    def _hang_up(self) -> None:
        if self._agent is not None:
            self._agent.close()
            self._agent = None


def at_once(machines: Iterable[Machine], do: Any) -> None:
    """Do something with all machines at the same time."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(do, machines))


def free_port() -> int:
    """A UDP port that nobody uses: the network of the machines is a multicast group on it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
