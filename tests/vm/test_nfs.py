"""The class's homes on kernel NFS, by the class's own states: what these do, who may what, who gets in, and locks."""

import re

import pytest

from tests.support.nfs import HOLDER, INSERTER, as_student, end, ended, in_background, student
from tests.support.vm_class import HOSTS, NODES, changes, failures
from tests.support.waiting import wait_until

HUB = HOSTS["hub"]["address"]
STRANGER = "10.78.0.99"


# -- the states
def test_prediction_on_bare_hosts_fails_nowhere_and_tells_what_comes(applied):
    assert {name: failures(said) for name, said in applied.predicted.items()} == {
        name: [] for name in HOSTS
    }
    for name, said in applied.first.items():
        missing = set(changes(said)) - set(changes(applied.predicted[name]))
        assert missing == set(), name


def test_first_run_succeeds(applied):
    assert {name: failures(said) for name, said in applied.first.items()} == {
        name: [] for name in HOSTS
    }
    assert "Storage server is running" in changes(applied.first["hub"])
    for node in NODES:
        assert "Storage of the hub is mounted" in changes(applied.first[node])


def test_second_run_changes_nothing(applied):
    for name, said in applied.second.items():
        assert (failures(said), changes(said)) == ([], {}), name


def test_nodes_have_the_hubs_homes_with_the_options_of_the_class(class_):
    for node in class_.nodes:
        kind, source, options = node.sh("findmnt -no FSTYPE,SOURCE,OPTIONS /home").split()
        assert (kind, source) == ("nfs4", f"{HUB}:/home")
        wanted = {"rw", "vers=4.2", "hard", "nosuid", "nodev", "noatime", "timeo=600", "retrans=2"}
        assert wanted <= set(options.split(","))


# -- who may what
def test_a_student_writes_on_the_node_and_owns_it_on_the_hub(class_, homes):
    node1, node2 = class_.nodes
    as_student(node1, "ada", "sh", "-c", "echo 42 >/home/ada/answer")
    assert class_.hub.run("stat", "-c", "%u:%g %a", "/home/ada/answer") == "20001:20001 644"
    assert class_.hub.run("cat", "/home/ada/answer") == "42"
    assert as_student(node2, "ada", "cat", "/home/ada/answer") == "42"


def test_another_students_home_is_refused(class_, homes):
    node = class_.nodes[0]
    as_student(node, "ada", "sh", "-c", "echo 42 >/home/ada/answer")
    for argv in (["cat", "/home/ada/answer"], ["ls", "/home/ada"], ["touch", "/home/ada/x"]):
        done = node.done(*student("bob"), *argv)
        assert done.code != 0
        assert "Permission denied" in done.err


def test_root_on_a_node_is_nobody_on_the_hub(class_, homes):
    node = class_.nodes[0]
    class_.hub.sh("install -d -m 1777 /home/ada/open && chmod 0755 /home/ada")
    for argv in (["touch", "/home/ada/x"], ["chown", "0:0", "/home/ada"], ["touch", "/home/x"]):
        assert node.done(*argv).code != 0
    node.run("touch", "/home/ada/open/x")
    assert class_.hub.run("stat", "-c", "%u:%g", "/home/ada/open/x") == "65534:65534"
    assert node.done("chmod", "4755", "/home/ada/open").code != 0


def test_setuid_programs_and_devices_in_homes_are_none(class_, homes):
    node = class_.nodes[0]
    class_.hub.sh(
        "chmod 0755 /home/ada && cp /usr/bin/id /home/ada/id && chmod 4755 /home/ada/id && "
        "mknod -m 0666 /home/ada/disk b 254 0"
    )
    assert as_student(node, "bob", "/home/ada/id", "-u") == "20002"
    assert "Permission denied" in node.done(*student("bob"), "head", "-c1", "/home/ada/disk").err


# -- who gets in
@pytest.fixture
def stranger(class_):
    """A machine on the class's network that is none of the class's hosts: node2 with another address and none of its own.

    Returns: a function that runs a line of shell there.
    """
    node = class_.machines["node2"]
    node.sh(
        "ip netns add stranger && ip link add link eth0 name other type macvlan mode bridge && "
        "ip link set other netns stranger && ip -n stranger link set lo up && "
        f"ip -n stranger addr add {STRANGER}/24 dev other && ip -n stranger link set other up"
    )
    yield lambda script: node.done("ip", "netns", "exec", "stranger", "sh", "-c", script)
    node.run("ip", "netns", "del", "stranger")


MOUNT = (
    f"mkdir -p /run/stolen && timeout 60 mount -t nfs4 -o vers=4.2,retry=0 {HUB}:/home /run/stolen"
)


def reaches(script, port):
    return script(f"timeout 5 bash -c 'exec 3<>/dev/tcp/{HUB}/{port}'").code == 0


@pytest.fixture
def no_firewall(class_):
    """The hub without the class's firewall: what its exports alone refuse."""
    class_.hub.run("systemctl", "stop", "classhub-firewall")
    yield
    class_.hub.run("systemctl", "start", "classhub-firewall")


def test_a_stranger_does_not_reach_the_server(class_, stranger):
    assert not reaches(stranger, 2049)
    assert stranger(MOUNT).code != 0


@pytest.mark.usefixtures("no_firewall")
def test_a_stranger_is_refused_the_mount_by_the_exports_too(stranger):
    assert reaches(stranger, 2049)
    done = stranger(MOUNT)
    assert done.code != 0
    assert re.search("denied|not permitted|No such file", done.err), done


@pytest.mark.usefixtures("no_firewall")
def test_a_node_is_let_in_where_a_stranger_is_not(class_):
    """The mount that is refused to a stranger is right but for who asks."""
    node = class_.machines["node2"]
    node.sh(MOUNT)
    node.sh("umount /run/stolen")


def test_one_version_and_one_port(class_):
    versions = class_.hub.run("cat", "/proc/fs/nfsd/versions").split()
    assert "-3" in versions
    assert "+4.2" in versions
    listening = class_.hub.sh("ss -Hltnp").splitlines()
    assert [line for line in listening if "rpc.mountd" in line] == []
    ports = {int(line.split()[3].rpartition(":")[2]) for line in listening}
    assert 2049 in ports
    node = class_.nodes[0]
    seen = {port for port in ports if reaches(lambda script: node.done("sh", "-c", script), port)}
    assert seen == {2049}
    done = node.done(
        "timeout", "60", "mount", "-t", "nfs", "-o", "vers=3,retry=0,nolock", f"{HUB}:/home", "/mnt"
    )
    assert done.code != 0


# -- locks
@pytest.mark.parametrize("kind", ["flock", "fcntl"])
def test_a_lock_on_one_node_holds_on_the_other(class_, homes, kind):
    node1, node2 = class_.nodes
    path, unit = "/home/ada/lock", f"holder-{kind}"

    def attempt(machine):
        return as_student(machine, "ada", "python3", "-c", HOLDER, kind, path, "0")

    in_background(node1, unit, "ada", "python3", "-c", HOLDER, kind, path, "3600")
    wait_until("node1 has the lock", lambda: attempt(node1) == "taken", 300)
    assert attempt(node2) == "taken"
    end(node1, unit)
    wait_until("node2 gets the lock", lambda: attempt(node2) == "got", 300)


def test_two_nodes_write_to_one_database(class_, homes):
    """SQLite trusts in fcntl's locks. classhub keeps its own databases off NFS; a student may not."""
    path, units = "/home/ada/rows.db", {node: f"inserter-{node.name}" for node in class_.nodes}
    for node, unit in units.items():
        in_background(node, unit, "ada", "python3", "-c", INSERTER, path, node.name, "50")
    try:
        for node, unit in units.items():
            wait_until(f"{unit} has ended", lambda node=node, unit=unit: ended(node, unit), 1200)
    finally:
        for node, unit in units.items():
            end(node, unit)
    look = "import sqlite3,sys; d = sqlite3.connect(sys.argv[1]); print(d.execute(sys.argv[2]).fetchall())"
    asked = [
        class_.hub.run("python3", "-c", look, path, query)
        for query in (
            "pragma integrity_check",
            "select who, count(distinct number), count(*) from rows group by who order by who",
        )
    ]
    assert asked == ["[('ok',)]", "[('node1', 50, 50), ('node2', 50, 50)]"]
