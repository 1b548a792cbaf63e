"""What a student tries from the own server, and anybody from outside: nothing is gained, and nobody else is hurt.

What other files try already: ports of the class and other servers (test_3_network.py), homes, capabilities and the
read-only root (journey.py), memory (test_4_memory.py), names, TLS versions, uploads and tries to sign in
(test_6_proxy.py), and what submissions do while they are graded (test_7_attacks.py).
"""

import contextlib
import http.client
import socket
import ssl
import subprocess
from urllib.parse import urlsplit

import pytest
import requests
import websocket

from tests.lab import journey
from tests.support import lab
from tests.support.client import KernelDied
from tests.support.waiting import wait_until

TRIES = r"""
import ctypes, errno, glob, os, socket
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *args):
    # what errno says, or that it worked
    done = libc.syscall(number, *args)
    return "done" if done >= 0 else errno.errorcode[ctypes.get_errno()]
def attempt(action, *args):
    try:
        action(*args)
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))
    return "done"
def fill(path):
    # bytes until there is no more room
    written = 0
    try:
        with open(path, "wb", buffering=0) as file:
            while written < 4 << 30:
                written += file.write(b"x" * (1 << 20))
    except OSError as error:
        return [written, errno.errorcode[error.errno]]
    return [written, "done"]
"""
# number of the system call on amd64, arguments
CALLS = {
    "mount a filesystem": "165, b'none', b'/tmp', b'tmpfs', 0, None",
    "unmount one": "166, b'/home', 2",
    "a user namespace of its own": "272, 0x10000000",
    "a mount namespace of its own": "272, 0x00020000",
    "another host name": "170, b'forged', 6",
    "a kernel module": "175, b'', 0, b''",
    "a program in the kernel": "321, 5, ctypes.create_string_buffer(128), 128",
    "watching the processor": "298, ctypes.create_string_buffer(128), -1, 0, -1, 0",
    "the clock": "227, 0, ctypes.create_string_buffer(16)",
    "the host's log": "103, 3, ctypes.create_string_buffer(4096), 4096",
    "being root": "105, 0",
    "root's group": "106, 0",
    "another root directory": "161, b'/tmp'",
    "a device": "133, b'/tmp/device', 0o020666, 0x0101",
    "restarting the host": "169, 0xfee1dead, 672274793, 0x01234567, None",
    "files by handle": "304, -100, ctypes.create_string_buffer(64), 0",
}
FILES = [
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sys/vm/drop_caches",
    "/proc/sysrq-trigger",
    "/proc/kcore",
    "/sys/kernel/uevent_helper",
    "/sys/power/state",
    "/sys/fs/cgroup/pids/release_agent",
    "/sys/fs/cgroup/cgroup.procs",
    "/etc/passwd",
    "/etc/resolv.conf",
    "/var/lib/extrausers/passwd",
    "/opt/forged",
]
SOCKETS = {
    "any packet": "socket.AF_PACKET, socket.SOCK_RAW",
    "pings of its own": "socket.AF_INET, socket.SOCK_RAW, 1",
}


@pytest.fixture(scope="module")
def ada(site, student):
    """The attacker."""
    lab.stop_everyone(site)
    person = student("ada")
    journey.start(person)
    yield person
    lab.stop_everyone(site)


@pytest.fixture(scope="module")
def bob(ada, student):
    """Who is to be left alone."""
    person = student("bob")
    journey.start(person)
    return person


@contextlib.contextmanager
def kernel_of(person):
    """One that ends with the block: some thirty of them would fill the server's memory."""
    made = person.kernel()
    try:
        yield made
    finally:
        person.request("DELETE", f"api/kernels/{made.id}")


@pytest.fixture
def kernel(ada):
    with kernel_of(ada) as made:
        said = made.run(TRIES)
        assert not said.error, said.error
        yield made


def unhurt(person) -> None:
    with kernel_of(person) as kernel:
        assert kernel.value("6 * 7") == 42


# -- the kernel and the host


@pytest.mark.parametrize("what", CALLS)
def test_the_kernel_says_no(kernel, what):
    assert kernel.value(f"call({CALLS[what]})") in ("EPERM", "EACCES", "ENOSYS")


@pytest.mark.parametrize("path", FILES)
def test_what_is_the_hosts_cannot_be_written(kernel, path):
    assert kernel.value(f"attempt(open, {path!r}, 'r+b')") != "done"


@pytest.mark.parametrize("what", SOCKETS)
def test_no_raw_sockets(kernel, what):
    assert kernel.value(f"attempt(socket.socket, {SOCKETS[what]})") == "EPERM"


def test_no_engine_and_no_devices(kernel):
    assert (
        kernel.value(
            "[p for p in ('/run/docker.sock', '/var/run/docker.sock') if os.path.exists(p)]"
        )
        == []
    )
    devices = set(kernel.value("sorted(os.listdir('/dev'))"))
    assert not devices & {"mem", "kmsg", "sda", "vda", "loop0", "fuse", "kvm", "net"}, devices


def test_nobody_elses_processes_are_there(ada, kernel):
    owners = kernel.value("sorted({os.stat(p).st_uid for p in glob.glob('/proc/[0-9]*')})")
    assert owners == [int(lab.on("hub", "id", "-u", ada.name))]


def test_no_address_of_ipv6(kernel):
    text = kernel.value(
        "open('/proc/net/if_inet6').read() if os.path.exists('/proc/net/if_inet6') else ''"
    )
    assert [line for line in text.splitlines() if not line.endswith(" lo")] == []


def test_a_setuid_program_in_the_home_gains_nothing(ada, kernel):
    """The lab's shared volume is not mounted nosuid, so it is no-new-privileges that says no."""
    path = f"/home/{ada.name}/as-root"
    lab.on("hub", "install", "-o", "root", "-g", "root", "-m", "4755", "/usr/bin/id", path)
    try:
        kernel.run("import subprocess")
        told = kernel.value(
            f"subprocess.run([{path!r}, '-u'], capture_output=True, text=True).stdout"
        )
        assert told.strip() == lab.on("hub", "id", "-u", ada.name)
    finally:
        lab.on("hub", "rm", path)


# -- the own limits


def test_processes_without_end_stop_at_the_limit(ada, bob, kernel):
    made = kernel.run(
        "made = []\n"
        "try:\n"
        "    while len(made) < 5000:\n"
        "        pid = os.fork()\n"
        "        if not pid:\n"
        "            import time; time.sleep(60); os._exit(0)\n"
        "        made.append(pid)\n"
        "except OSError as error:\n"
        "    print(errno.errorcode[error.errno], len(made))\n"
        "for pid in made:\n"
        "    os.kill(pid, 9); os.waitpid(pid, 0)\n",
        timeout=120,
    )
    assert made.text.startswith("EAGAIN"), (made.text, made.error)
    assert int(made.text.split()[1]) < 512
    unhurt(bob)
    unhurt(ada)


def test_a_fork_bomb_in_a_terminal_hurts_nobody_else(ada, bob):
    node = lab.node_of(ada.name)
    with contextlib.suppress(TimeoutError, OSError, websocket.WebSocketException):
        ada.terminal().run("bomb() { bomb | bomb & }; bomb; sleep 20", timeout=10)
    unhurt(bob)
    assert lab.on(node, "true") == ""

    def works_again() -> bool:
        if not ada.answers():
            ada.start()
        with kernel_of(ada) as kernel:
            return kernel.value("6 * 7") == 42

    ada.stop()
    ada.start()
    wait_until("ada works again", works_again, 90, ignoring=(KernelDied, TimeoutError, OSError))


@pytest.mark.parametrize("place", ["/tmp", "/dev/shm"])
def test_a_full_scratch_is_ones_own(ada, bob, place):
    ada_kernel = ada.kernel()
    ada_kernel.run(TRIES)
    try:
        written, ended = ada_kernel.value(f"fill('{place}/full')", timeout=120)
        assert ended == "ENOSPC"
        assert written <= 128 << 20
        unhurt(bob)
        assert bob.kernel().run(f"open('{place}/mine', 'w').write('x' * 100000)").error == ""
    finally:
        ada_kernel.run(f"os.unlink('{place}/full')")
    unhurt(ada)


# -- other people, by the hub


ADMIN = [
    ("POST", "users/mallory"),
    ("DELETE", "users/bob"),
    ("POST", "users/bob/server"),
    ("DELETE", "users/bob/server"),
    ("GET", "users/bob"),
    ("POST", "users/bob/tokens"),
    ("PATCH", "users/ada"),
    ("GET", "services"),
    ("GET", "proxy"),
    ("POST", "proxy"),
    ("POST", "shutdown"),
    ("GET", "groups"),
]


@pytest.mark.parametrize(("method", "path"), ADMIN)
@pytest.mark.parametrize("where", ["outside", "inside"])
def test_the_hub_does_nothing_to_others(ada, bob, kernel, where, method, path):
    """By a token of the own page, and by the one that the own server has."""
    if where == "outside":
        status = ada.hub_request(method, path, json={"admin": True}).status_code
    else:
        kernel.run("import requests")
        address = f"http://{lab.ADDRESSES['hub']}:8081/hub/api/{path}"
        token = "{'Authorization': 'token ' + os.environ['JUPYTERHUB_API_TOKEN']}"
        status = kernel.value(
            f"requests.request({method!r}, {address!r}, headers={token}, json={{}}, timeout=20).status_code"
        )
    assert status in (401, 403, 404)
    assert bob.answers()


def test_people_are_not_listed(ada, bob):
    listed = ada.hub_request("GET", "users")
    assert listed.status_code == 403 or [each["name"] for each in listed.json()] == [ada.name]


def test_ones_token_opens_nobody_elses_server(ada, bob, site):
    with site.session() as session:
        headers = {"Authorization": f"token {ada.token}"}
        for path in ("api/contents", "api/kernels", "api/terminals", "lab", "files/hello.txt"):
            answer = session.get(
                f"{site.url}/user/{bob.name}/{path}",
                headers=headers,
                timeout=30,
                allow_redirects=False,
            )
            assert answer.status_code in (302, 403, 404), path


COOKIES = ["jupyterhub-user-bob", "jupyterhub-hub-login", "jupyterhub-session-id"]


@pytest.mark.parametrize("name", COOKIES)
def test_a_forged_cookie_is_none(ada, bob, site, name):
    """Made up, and the own one under another's name."""
    own = {cookie.name: cookie.value for cookie in ada.session.cookies}
    for value in ("2|1:0|10:1700000000|5:ident|4:Ym9i|" + "0" * 64, *own.values()):
        with site.session() as session:
            answer = session.get(
                f"{site.url}/user/{bob.name}/api/contents",
                headers={"Cookie": f"{name}={value}"},
                timeout=30,
                allow_redirects=False,
            )
        assert answer.status_code in (302, 403)


# -- from outside


def raw(site, text: str, patience: float = 20) -> str:
    """The first line of what the proxy answers to these bytes; empty where it hangs up."""
    context = ssl.create_default_context(cafile=str(site.certificate))
    with (
        socket.create_connection((site.address, 443), timeout=patience) as plain,
        context.wrap_socket(plain, server_hostname=site.domain) as secure,
    ):
        secure.sendall(text.replace("\n", "\r\n").encode())
        try:
            return secure.recv(4096).decode("latin-1").partition("\r\n")[0]
        except ConnectionError:
            return ""


SMUGGLED = {
    "both lengths": "Content-Length: 44\nTransfer-Encoding: chunked\n\n0\n\nGET /hub/api/users HTTP/1.1\nHost: x\n\n",
    "two lengths": "Content-Length: 0\nContent-Length: 44\n\nGET /hub/api/users HTTP/1.1\nHost: x\n\n",
    "an unknown coding": "Transfer-Encoding: xchunked\n\n0\n\n",
    "a hidden coding": "Transfer-Encoding : chunked\nContent-Length: 5\n\n0\n\n",
    "two hosts": "Host: elsewhere.test\n\n",
    "a negative length": "Content-Length: -1\n\n",
}


@pytest.mark.parametrize("how", SMUGGLED)
def test_an_ambiguous_request_is_refused(site, how):
    head = f"POST /hub/login HTTP/1.1\nHost: {site.domain}\n"
    told = raw(site, head + SMUGGLED[how])
    assert told == "" or told.split()[1] in ("400", "411", "501"), told


TRICKS = [
    "/user/ada/../bob/api/contents",
    "/user/ada/%2e%2e/bob/api/contents",
    "/user/ada/..%2fbob/api/contents",
    "/user/ada/%2e%2e%2fbob/api/contents",
    "/user/ada/..;/bob/api/contents",
    "/user/ada//../bob/api/contents",
    "//user/bob/api/contents",
    "/user//bob/api/contents",
    "/user/./bob/api/contents",
    "/user/%62ob/api/contents",
    "/user/ada%2f..%2fbob/api/contents",
    "/user/ada\\..\\bob/api/contents",
]


@pytest.mark.parametrize("path", TRICKS)
def test_no_path_leads_into_anothers_server(ada, bob, site, path):
    context = ssl.create_default_context(cafile=str(site.certificate))
    connection = http.client.HTTPSConnection(site.domain, context=context, timeout=30)
    connection.putrequest("GET", path, skip_accept_encoding=True)
    connection.putheader("Authorization", f"token {ada.token}")
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert answer.status != 200 or b'"content"' not in body, body[:300]


ELSEWHERE = [
    "//elsewhere.test/",
    "/\\elsewhere.test/",
    "\\\\elsewhere.test",
    "https://elsewhere.test/",
    "https:elsewhere.test",
    "/%5celsewhere.test",
    "/hub/../../elsewhere.test",
    "/\telsewhere.test",
    "javascript:alert(1)",
]


@pytest.mark.parametrize("where", ELSEWHERE)
def test_signing_in_leads_nobody_elsewhere(ada, site, where):
    answer = ada.session.get(
        ada.hub("login"), params={"next": where}, allow_redirects=False, timeout=30
    )
    assert answer.status_code == 302
    target = answer.headers["Location"].replace("\\", "/").replace("\t", "")
    landed = urlsplit(requests.compat.urljoin(site.url, target))
    assert landed.hostname == site.domain, answer.headers["Location"]
    assert landed.scheme in ("http", "https")


def test_without_a_name_there_is_no_handshake(site):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection((site.address, 443), timeout=20) as plain,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        context.wrap_socket(plain)


BEHIND = [
    ("hub", 8000, "proxy"),
    ("hub", 8443, "proxy"),
    ("hub", 2377, "node1"),
    ("hub", 7946, "node1"),
    ("node1", 7946, "node2"),
]


@pytest.mark.parametrize(("host", "port", "friend"), BEHIND)
def test_what_is_behind_the_proxy_is_closed_to_others(site, host, port, friend):
    """This machine is on the class's network and is none of its hosts."""
    address = lab.ADDRESSES[host]
    lab.on(friend, "timeout", "5", "bash", "-c", f"exec 3<>/dev/tcp/{address}/{port}")
    with pytest.raises(OSError, match="timed out|refused"):
        socket.create_connection((address, port), timeout=3).close()


def test_a_published_server_is_closed_to_all_but_the_hub(bob, site):
    node = lab.node_of("bob")
    (container,) = lab.containers_of("bob", node)
    port = lab.docker(node, "port", container, "8888/tcp").splitlines()[0].rpartition(":")[2]
    reach = ["timeout", "3", "bash", "-c", f"exec 3<>/dev/tcp/{lab.ADDRESSES[node]}/{port}"]
    lab.on("hub", *reach)
    for other in ("proxy", next(each for each in lab.NODES if each != node)):
        with pytest.raises(lab.CommandFailed):
            lab.on(other, *reach)
    assert subprocess.run(reach, capture_output=True, check=False).returncode


@pytest.mark.parametrize("host", lab.ADDRESSES)
def test_the_firewall_is_in_force_now_and_at_boot(site, host):
    rules = lab.on(host, "nft", "list", "chain", "inet", "classhub", "input")
    assert "policy drop" in rules
    assert lab.on(host, "systemctl", "is-enabled", "classhub-firewall") == "enabled"
    order = lab.on(host, "systemctl", "show", "classhub-firewall", "--property=Before", "--value")
    assert {"docker.service", "network-pre.target"} <= set(order.split())


def test_rules_that_somebody_flushed_come_back(site):
    lab.on("proxy", "nft", "delete", "table", "inet", "classhub")
    applied = lab.apply("proxy", "firewall")
    assert not lab.lines(applied, "failed")
    assert len(lab.lines(applied, "changed")) == 1
    assert "policy drop" in lab.on("proxy", "nft", "list", "table", "inet", "classhub")
    assert not lab.lines(lab.apply("proxy", "firewall"), "changed")


@pytest.mark.parametrize("mode", ["none", "allow-list"])
def test_servers_without_the_world_still_work(ada, mode):
    """The names of the class are addresses; a kernel needs the hub, and the hub the server."""
    node = lab.node_of(ada.name)
    with lab.settings({"firewall": {"egress": mode}}):
        assert not lab.lines(lab.apply(node, "firewall"), "failed")
        hub, world = (lab.ADDRESSES["hub"], 8081), ("192.0.2.1", 80)
        with kernel_of(ada) as kernel:
            kernel.run(TRIES)
            told = [
                kernel.value(f"attempt(socket.create_connection, {each}, 5)")
                for each in (hub, world)
            ]
    assert not lab.lines(lab.apply(node, "firewall"), "failed")
    assert told == ["done", "ECONNREFUSED"]
