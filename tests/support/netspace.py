"""Hosts and containers as real network namespaces on one LAN, and connections that are tried between them.

A socket stays in the namespace in which it was made: all of them are held by the process that tests.
"""

import contextlib
import ctypes
import itertools
import os
import selectors
import socket
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

CLONE_NEWNET = 0x40000000
BRIDGE = "172.30.0.1"  # docker0 of each host with containers
_numbers = itertools.count()


@dataclass(frozen=True)
class Try:
    """A connection, or a datagram and its answer."""

    source: str
    address: str
    port: int
    kind: str = "tcp"


class Lan:
    """Namespaces, each with an address on one switch. Removed by `close`.

    The one called `world` routes for all and has the addresses of everywhere.
    """

    def __init__(self, hosts: dict[str, str]) -> None:
        self.prefix = f"ch{os.getpid()}x{next(_numbers)}-"
        self.hosts = hosts
        self._sockets: list[socket.socket] = []
        self._served = selectors.DefaultSelector()
        self._made: list[str] = []
        self._ends = threading.Event()
        self._server = threading.Thread(target=self._serve, daemon=True)
        self._add("switch")
        self.ip("switch", "link add lan type bridge", "link set lan up")
        for number, (name, address) in enumerate(hosts.items()):
            self._plug(name, address, number)
        self._server.start()

    def close(self) -> None:
        self._ends.set()
        self._server.join()
        for each in self._sockets:
            each.close()
        for name in self._made:
            subprocess.run(["ip", "netns", "del", self.prefix + name], check=True)

    # -- building
    def ip(self, name: str, *commands: str) -> None:
        """Commands of iproute2 in a namespace."""
        for command in commands:
            _run("ip", "-n", self.prefix + name, *command.split())

    def sysctl(self, name: str, *settings: str) -> None:
        _run("ip", "netns", "exec", self.prefix + name, "sysctl", "-qw", *settings)

    def nft(self, name: str, text: str) -> None:
        """Load rules in a namespace."""
        _run("ip", "netns", "exec", self.prefix + name, "nft", "--file", "-", text=text)

    def _add(self, name: str) -> None:
        _run("ip", "netns", "add", self.prefix + name)
        self._made.append(name)
        self.ip(name, "link set lo up")

    def _plug(self, name: str, address: str, number: int) -> None:
        self._add(name)
        port = f"p{number}"
        self.ip(
            "switch",
            f"link add {port} type veth peer name eth0 netns {self.prefix + name}",
            f"link set {port} master lan up",
        )
        self.ip(name, f"addr add {address}/24 dev eth0")
        self.ip(name, f"addr add {v6(address)}/64 dev eth0 nodad", "link set eth0 up")
        if name != "world":
            world = self.hosts["world"]
            self.ip(name, f"route add default via {world}", f"route add default via {v6(world)}")

    def everywhere(self, addresses: Iterable[str]) -> None:
        """Addresses that the world answers at."""
        self.sysctl("world", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        for address in addresses:
            self.ip("world", f"addr add {address} dev lo{' nodad' * (':' in address)}")

    def containers(self, host: str, names: list[str], network6: str) -> None:
        """Containers on the host's docker0, with Docker's own rules: a published port each, from 32768 up.

        They have IPv6, as no container of the class has.
        """
        self.sysctl(host, "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        self.ip(host, "link add docker0 type bridge", f"addr add {BRIDGE}/24 dev docker0")
        self.ip(host, f"addr add {network6}::1/64 dev docker0 nodad", "link set docker0 up")
        self.ip("world", f"route add {network6}::/64 via {v6(self.hosts[host])}")
        # what Docker does for "icc: false"
        self.sysctl(
            host, "net.bridge.bridge-nf-call-iptables=1", "net.bridge.bridge-nf-call-ip6tables=1"
        )
        published = []
        for number, name in enumerate(names):
            self._add(name)
            self.ip(
                host,
                f"link add c{number} type veth peer name eth0 netns {self.prefix + name}",
                f"link set c{number} master docker0 up",
            )
            self.ip(
                name,
                f"addr add {inside(number)}/24 dev eth0",
                f"addr add {network6}::{number + 2}/64 dev eth0 nodad",
                "link set eth0 up",
                f"route add default via {BRIDGE}",
                f"route add default via {network6}::1",
            )
            published.append(
                f"fib daddr type local tcp dport {32768 + number} dnat to {inside(number)}:8888"
            )
        rules = "; ".join(published)
        self.nft(
            host,
            f"""table ip docker {{
            chain prerouting {{ type nat hook prerouting priority dstnat; {rules}; }}
            chain output {{ type nat hook output priority -100; {rules}; }}
            chain postrouting {{ type nat hook postrouting priority srcnat;
                ip saddr {BRIDGE}/24 oifname != "docker0" masquerade; }}
            }}""",
        )

    # -- talking
    @contextlib.contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """Sockets made by this thread are the namespace's."""
        with Path("/proc/thread-self/ns/net").open() as own:
            with Path("/run/netns", self.prefix + name).open() as other:
                _enter(other.fileno())
            try:
                yield
            finally:
                _enter(own.fileno())

    def socket(self, name: str, address: str, kind: str = "tcp") -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with self.inside(name):
            made = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
        self._sockets.append(made)
        return made

    def listen(
        self, name: str, addresses: Iterable[str], tcp: Iterable[int], udp: Iterable[int] = ()
    ) -> None:
        """Answer there: at each address and port, with what was sent."""
        for address, (kind, port) in itertools.product(
            addresses, [*(("tcp", each) for each in tcp), *(("udp", each) for each in udp)]
        ):
            one = self.socket(name, address, kind)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind((address, port))
            if kind == "tcp":
                one.listen(64)
            one.setblocking(False)
            self._served.register(one, selectors.EVENT_READ, kind)

    def _serve(self) -> None:
        while not self._ends.is_set():
            for key, _ in self._served.select(0.05):
                with contextlib.suppress(OSError):
                    if key.data == "tcp":
                        key.fileobj.accept()[0].close()
                    else:
                        sent, sender = key.fileobj.recvfrom(99)
                        key.fileobj.sendto(sent, sender)

    def outcomes(self, tries: Iterable[Try], patience: float = 2) -> dict[Try, str]:
        """What became of each, all at once: open, refused, or silent for `patience` seconds."""
        found: dict[Try, str] = {}
        with selectors.DefaultSelector() as waiting:
            for each in tries:
                one = self.socket(each.source, each.address, each.kind)
                one.setblocking(False)
                try:
                    one.connect_ex((each.address, each.port))
                    if each.kind == "udp":
                        one.send(b"anybody?")
                except OSError:
                    found[each] = "refused"
                    continue
                event = selectors.EVENT_WRITE if each.kind == "tcp" else selectors.EVENT_READ
                waiting.register(one, event, each)
            deadline = time.monotonic() + patience
            while waiting.get_map() and time.monotonic() < deadline:
                for key, _ in waiting.select(0.1):
                    found[key.data] = _outcome(key.fileobj, key.data.kind)
                    waiting.unregister(key.fileobj)
            found |= {key.data: "silent" for key in waiting.get_map().values()}
        return found


def _outcome(one: socket.socket, kind: str) -> str:
    if kind == "udp":
        try:
            return "open" if one.recv(99) else "refused"
        except OSError:
            return "refused"
    return "refused" if one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) else "open"


def inside(number: int) -> str:
    """The address of a container on its host's docker0."""
    return f"172.30.0.{number + 2}"


def v6(address: str) -> str:
    """The IPv6 address beside an IPv4 one of the LAN."""
    return f"fd77::{address.rpartition('.')[2]}"


def _enter(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def _run(*argv: str, text: str | None = None) -> None:
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    assert not done.returncode, f"{' '.join(argv)}: {done.stderr}\n{text or ''}"
