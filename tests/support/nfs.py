"""Students' homes on the class's NFS, and programs that use them as students."""

from tests.support.vm import Machine
from tests.support.vm_class import Class
from tests.support.waiting import wait_until

UIDS = {"ada": 20001, "bob": 20002}

# Appends numbered lines as fast as it can, each on the server's disk before it says so in a file of the node's own.
WRITER = """
import itertools, os, sys
path, told = sys.argv[1:]
file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
said = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
for number in itertools.count():
    os.write(file, f"{number} {'x' * 200}\\n".encode())
    os.fsync(file)
    os.pwrite(said, f"{number}\\n".encode(), 0)
"""

CHECK = """
import sys
with open(sys.argv[1]) as file:
    lines = file.read().splitlines()
for number, line in enumerate(lines):
    if line != f"{number} {'x' * 200}":
        sys.exit(f"line {number} of {len(lines)} is {line[:60]!r}")
print(len(lines))
"""

# Waits for a lock and holds it for some seconds; for none, it only tells whether it could have it at once.
HOLDER = """
import fcntl, sys, time
kind, path, seconds = sys.argv[1:]
how = fcntl.LOCK_EX if float(seconds) else fcntl.LOCK_EX | fcntl.LOCK_NB
lock = {"flock": fcntl.flock, "fcntl": fcntl.lockf}[kind]
with open(path, "a") as file:
    try:
        lock(file, how)
    except OSError:
        print("taken", flush=True)
        sys.exit()
    print("got", flush=True)
    time.sleep(float(seconds))
"""

# Puts rows into a database that others write to at the same time.
INSERTER = """
import sqlite3, sys
path, who, count = sys.argv[1:]
database = sqlite3.connect(path, timeout=120, isolation_level=None)
database.execute("create table if not exists rows (who text, number integer)")
for number in range(int(count)):
    database.execute("begin immediate")
    (there,) = database.execute("select count(*) from rows where who = ?", [who]).fetchone()
    database.execute("insert into rows values (?, ?)", [who, there])
    database.execute("commit")
"""


class Homes:
    """Homes of Ada and Bob on the hub."""

    def __init__(self, class_: Class) -> None:
        self.class_ = class_

    def make(self) -> None:
        for name, uid in UIDS.items():
            self.class_.hub.run(
                "install", "-d", "-m", "0700", "-o", str(uid), "-g", str(uid), f"/home/{name}"
            )

    def remove(self) -> None:
        self.class_.hub.run("rm", "-rf", "--", *(f"/home/{name}" for name in UIDS))


def as_student(
    machine: Machine, name: str, *argv: str, check: bool = True, timeout: float = 120
) -> str:
    """Standard output of a command that runs on a node as a student, with the rights of a server's container."""
    return machine.run(*student(name), *argv, check=check, timeout=timeout)


def student(name: str) -> list[str]:
    """What makes a command run as a student."""
    uid = str(UIDS[name])
    return ["setpriv", "--reuid", uid, "--regid", uid, "--clear-groups", "--inh-caps=-all", "--"]


def in_background(machine: Machine, unit: str, name: str, *argv: str) -> None:
    """Start a command as a student, as a unit of systemd that stays when it has ended, until `end`.

    Not by systemd-run's own --uid: like a server's container, a node need not know its students.
    """
    command = ["systemd-run", "--quiet", f"--unit={unit}", "--property=RemainAfterExit=yes"]
    machine.run(*command, *student(name), *argv)


def ended(machine: Machine, unit: str) -> bool:
    """Whether a command in the background has ended well; an error when it has failed."""
    state = machine.run("systemctl", "show", "-P", "SubState", unit)
    assert state != "failed", machine.run("journalctl", "-n", "50", "--unit", unit)
    return state == "exited"


def end(machine: Machine, unit: str) -> None:
    """End a command in the background, whether it still runs or not."""
    machine.sh(f"systemctl stop {unit}; systemctl reset-failed {unit}", check=False)


class Writer:
    """A student's program on a node that writes to the home under load, and knows what it was promised.

    Attributes:
        path: what it writes
    """

    def __init__(self, machine: Machine, name: str) -> None:
        self.machine, self.name = machine, name
        self.path, self.told = f"/home/{name}/lines", f"/run/written-{name}"
        self.unit = f"writer-{name}"

    def __enter__(self) -> "Writer":
        uid = str(UIDS[self.name])
        self.machine.run("install", "-o", uid, "-g", uid, "-m", "0600", "/dev/null", self.told)
        in_background(
            self.machine, self.unit, self.name, "python3", "-c", WRITER, self.path, self.told
        )
        self.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        end(self.machine, self.unit)

    def promised(self) -> int:
        """How many lines were on the server's disk."""
        text = self.machine.run("cat", self.told)
        return int(text.split()[0]) + 1 if text else 0

    def wait(self, more: int, seconds: float = 300) -> int:
        """Wait until it has written so many more lines; how many there are."""
        wanted = self.promised() + more
        what = f"{self.name}'s writer on {self.machine.name} writes"
        return wait_until(what, lambda: (now := self.promised()) >= wanted and now, seconds)

    def lines(self, hub: Machine) -> int:
        """Stop it; how many lines the hub then has, each of them once and in order."""
        self.stop()
        promised = self.promised()
        there = int(hub.run("python3", "-c", CHECK, self.path))
        assert there >= promised, f"{promised} lines were promised, and {there} are there"
        return there
