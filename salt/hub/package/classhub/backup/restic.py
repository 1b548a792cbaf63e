"""restic, called: https://restic.readthedocs.io/en/v0.14.0/

One repository is one class's. Every snapshot has the tag `classhub` and that of the class's filesystem; the host's name
is the same for every hub that the class will ever have.
"""

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from classhub.backup.settings import Settings
from classhub.course.report import Refused

HOST = TAG = "classhub"
CLASS = "class-"  # begins the tag that names the class's filesystem
INCOMPLETE = 3  # exit code: some of the files could not be read
SFTP = re.compile(
    r"sftp:(?://(?:(?P<user>[^@/]+)@)?(?P<host>[^:/]+)(?::(?P<port>\d+))?/|(?:(?P<user2>[^@:]+)@)?(?P<host2>[^:/]+):)(?P<path>.+)"
)
FULL = r"no space left on device|disk quota exceeded"
UNREACHED = "it cannot be reached"
# what restic says -> what it means
WORDS = (
    (
        r"wrong password or no key found",
        "the password does not open it; give the one of this repository (classhub:backup:password)",
    ),
    (rf"{FULL}|StorageFull", "it is full"),
    (
        r"repository is already locked",
        "another restic works on it. If none does, its lock is ignored when it is half an hour old",
    ),
    (
        (
            r"Permission denied \(|Host key verification failed|Could not resolve hostname|Connection (refused|timed out|closed)"
            "|No route to host|no such host|i/o timeout|ssh command exited|unable to start the sftp session"
        ),
        UNREACHED,
    ),
    (r"Access Denied|SignatureDoesNotMatch|InvalidAccessKeyId", "it does not let the class in"),
)
IGNORING = re.compile(r"^ignoring error for (.+?): (.*)$", re.MULTILINE)
UNOPENED = "unable to open config file"
ABSENT = re.compile(
    rf"{UNOPENED}: .*(no such file|(does not|doesn't) exist|NoSuchKey|NoSuchBucket)"
)


class Absent(Refused):
    """There is no repository at this place."""


class Snapshot(NamedTuple):
    """One backup.

    Attributes:
        id: of 64 hex digits
        time: when it was begun
        tags: `classhub` and `class-<id>`
        paths: the trees in it
    """

    id: str
    time: datetime
    tags: tuple[str, ...]
    paths: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.id[:8]


class Restic:
    """A repository and how to reach it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            **settings.environment,
            "RESTIC_REPOSITORY": settings.repository,
            "RESTIC_PASSWORD": settings.password,
            "RESTIC_PROGRESS_FPS": "0.0003",
            # what restic unpacks, where this host has room
            "TMPDIR": str(settings.cache),
        }

    def command(self, *words: str) -> list[str]:
        """restic with what it needs to reach the repository; with the caller, it dies."""
        options = ["--cache-dir", str(self.settings.cache), "--cleanup-cache"]
        if found := SFTP.fullmatch(self.settings.repository):
            options += ["-o", f"sftp.command={shlex.join(self._ssh(found))}"]
        return ["setpriv", "--pdeathsig=INT", "restic", *options, *words]

    def _ssh(self, found: re.Match) -> list[str]:
        user, host = found["user"] or found["user2"], found["host"] or found["host2"]
        words = ["ssh", "-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"]
        words += ["-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=20"]
        if self.settings.ssh_key:
            words += ["-i", self.settings.ssh_key, "-o", "IdentitiesOnly=yes"]
        if self.settings.known_hosts:
            words += ["-o", f"UserKnownHostsFile={self.settings.known_hosts}"]
        words += ["-p", found["port"]] if found["port"] else []
        words += ["-l", user] if user else []
        return [*words, host, "-s", "sftp"]

    def run(self, *words: str, codes: Sequence[int] = (0,)) -> subprocess.CompletedProcess:
        """Run restic to its end.

        Raises:
            Absent: there is no repository.
            Refused: it ended with another code than `codes`; one sentence says why.
        """
        self.settings.cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        done = subprocess.run(
            self.command(*words),
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            check=False,
        )
        if done.returncode not in codes:
            raise self.trouble(done.stderr)
        return done

    def trouble(self, words: str) -> Refused:
        """What restic said, in one sentence."""
        where = self.settings.repository
        here = f"{re.escape(str(self.settings.cache))}|{re.escape(str(self.settings.state))}"
        if re.search(rf"({here})/.*({FULL})", words, re.IGNORECASE):
            return Refused(f"the hub's own disk is full ({last_line(words)})")
        for pattern, meaning in WORDS:
            if re.search(pattern, words, re.IGNORECASE):
                return Refused(f"the repository {where}: {meaning} ({last_line(words)})")
        if ABSENT.search(words):
            return Absent(
                f"there is no repository at {where}. Is its disk mounted, and its place right?"
            )
        meaning = f"{UNREACHED} ({last_line(words)})" if UNOPENED in words else last_line(words)
        return Refused(f"the repository {where}: {meaning}")

    def identity(self) -> str:
        """The repository's own id.

        Raises:
            Absent: there is none.
        """
        return json.loads(self.run("cat", "config", "--no-lock").stdout)["id"]

    def snapshots(self) -> list[Snapshot]:
        """Those of classhub, oldest first."""
        listed = json.loads(self.run("snapshots", "--json", "--no-lock", "--tag", TAG).stdout)
        found = [
            Snapshot(
                entry["id"],
                parsed(entry["time"]),
                tuple(entry.get("tags") or ()),
                tuple(entry["paths"]),
            )
            for entry in listed or ()
        ]
        return sorted(found, key=lambda snapshot: snapshot.time)

    @contextmanager
    def listed(self, snapshot: Snapshot, *words: str) -> Iterator[Iterator[dict]]:
        """What is in a snapshot, node by node, as restic reads it.

        Args:
            words: a path: it alone and, of a directory, the first level; with the option --recursive all that is in it
        """
        command = self.command("ls", "--json", "--no-lock", snapshot.id, *words)
        with subprocess.Popen(
            command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            yield (
                node
                for line in process.stdout
                if line.strip() and (node := json.loads(line))["struct_type"] == "node"
            )
            process.stdout.read()
            words = process.stderr.read()
            if process.wait():
                raise self.trouble(words)

    def kind(self, snapshot: Snapshot, path: Path) -> str:
        """What a snapshot has at a path: "file", "dir", ...; empty if nothing."""
        with self.listed(snapshot, str(path)) as nodes:
            return next((node["type"] for node in nodes if node["path"] == str(path)), "")

    def size(self, snapshot: Snapshot, path: Path) -> int:
        """How many bytes are at a path and below it."""
        with self.listed(snapshot, "--recursive", str(path)) as nodes:
            return sum(node.get("size", 0) for node in nodes)

    def restore(
        self, snapshot: Snapshot, top: Path, paths: Iterable[str | Path] = ()
    ) -> dict[str, str]:
        """Restore below a directory, and read again what was written.

        Args:
            top: a directory that nobody but root can reach, or the root of the host
            paths: these alone, with what is in them

        Returns:
            what could not be restored, and why.
        """
        words = ["restore", snapshot.id, "--target", str(top), "--verify", "--no-lock"]
        done = self.run(*words, *(f"--include={literal(path)}" for path in paths), codes=(0, 1))
        failed: dict[str, str] = {}
        for path, why in IGNORING.findall(done.stderr):
            failed.setdefault(path, why)  # a file without its content has no times to set either
        if done.returncode and not failed:
            raise self.trouble(done.stderr)
        return failed

    def unlock(self) -> None:
        """Remove the locks of runs that were killed: of processes that are gone from this host, or older than 30 minutes."""
        self.run("unlock")


def parsed(text: str) -> datetime:
    """A time as restic writes it, with nanoseconds, which Python's does without."""
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d*", r"\1", text)).astimezone(UTC)


def nanoseconds(text: str) -> int:
    """A time as restic writes it, in nanoseconds since the epoch."""
    whole, _, rest = text.partition(".")
    digits = re.match(r"\d*", rest)[0]
    zone = rest[len(digits) :] if rest else ""
    return int(datetime.fromisoformat(whole + zone).timestamp()) * 10**9 + int(digits.ljust(9, "0"))


def last_line(words: str) -> str:
    """What restic said at last that is worth telling."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    fatal = [line.removeprefix("Fatal: ") for line in lines if line.startswith("Fatal: ")]
    return (fatal or lines or ["restic ended without a word"])[-1]


def literal(path: str | Path) -> str:
    """A pattern of restic's that means this path and no other: it takes patterns of Go's filepath.Match."""
    return re.sub(r"([\\*?\[])", r"\\\1", os.fspath(path))
