"""The store of sealed submissions: out of every student's reach, whole or absent, never changed.

    <store>/<assignment>/<user>/<seal>/manifest.json    what was sealed, from where and when
    <store>/<assignment>/<user>/<seal>/files/           the submission
    <store>/ledger.jsonl                                a line for each seal
    <store>/.staging/  .due/  .lock  .*.json            work in hand; receipts not yet written

A seal is staged, flushed to the disk and renamed into place; then its line is added to the ledger.
`heal` completes whatever a killed run or a full disk left between two of these steps.
"""

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from classhub.course.ledger import Ledger, canonical, fsync_dir, private, sha256
from classhub.course.report import Refused

MANIFEST = "manifest.json"
LEDGER = "(ledger)"  # no username
LOCK_SECONDS = 120
# What the ledger repeats of a manifest.
REPEATED = (
    "assignment",
    "user",
    "uid",
    "seal",
    "source",
    "sealed_at",
    "changed_at",
    "unseen_until",
    "content",
)


def now() -> datetime:
    """The hub's clock."""
    return datetime.now(UTC)


def entry_of(manifest: dict, raw: bytes) -> dict:
    """What the ledger says about a seal.

    Args:
        raw: the manifest as it is on the disk.
    """
    files = manifest["files"].values()
    return {key: manifest[key] for key in REPEATED} | {
        "manifest": sha256(raw),
        "files": len(files),
        "bytes": sum(file["size"] for file in files),
    }


class Store:
    """The store below one directory. What writes does so inside `locked`."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.staging, self.due = self.root / ".staging", self.root / ".due"
        self.ledger = Ledger(self.root / "ledger.jsonl")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only one that writes, with the ledger as it is now.

        Raises:
            Refused: another run holds the store for too long.
        """
        for path in (self.root, self.staging, self.due):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _lock(fd)
            self.ledger = Ledger(self.ledger.path)
            yield
        finally:
            os.close(fd)

    def place(self, entry: dict) -> Path:
        """The directory of a seal, by its manifest or ledger line."""
        return self.root / entry["assignment"] / entry["user"] / entry["seal"]

    @contextmanager
    def staged(self) -> Iterator[Path]:
        """A directory for one seal in the making; gone afterwards unless it was committed."""
        path = self.staging / secrets.token_hex(8)
        path.mkdir(mode=0o700)
        try:
            (path / "files").mkdir(mode=0o700)
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def commit(self, staged: Path, manifest: dict) -> dict:
        """Make a staged submission a sealed one.

        Args:
            manifest: {course, assignment, user, uid, source, changed_at, unseen_until, files}; the
                seal's name and time are given here.

        Returns:
            Its line of the ledger.
        """
        sealed_at = now()
        manifest = manifest | {
            "sealed_at": sealed_at.isoformat(timespec="microseconds"),
            "seal": sealed_at.strftime("%Y%m%dT%H%M%S.%fZ-") + secrets.token_hex(4),
            "content": content(manifest["files"]),
        }
        raw = canonical(manifest)
        write_file(staged / MANIFEST, raw)
        for directory, _, _ in os.walk(staged, topdown=False):
            fsync_dir(Path(directory))
        target = self.place(manifest)
        self._make_parents(target)
        self._owe_receipt(manifest["seal"])
        os.rename(staged, target)
        fsync_dir(target.parent)
        return self.ledger.append(entry_of(manifest, raw))

    def _owe_receipt(self, seal: str) -> None:
        """Remember that the person has yet to get a receipt."""
        write_file(self.due / seal, b"")
        fsync_dir(self.due)

    def _make_parents(self, target: Path) -> None:
        for path in (target.parent.parent, target.parent):
            if not path.exists():
                path.mkdir(mode=0o700, exist_ok=True)
                fsync_dir(path.parent)

    def places(self) -> Iterator[Path]:
        """The directories of all seals, whether the ledger knows them or not."""
        for assignment in _visible(self.root):
            for user in _visible(assignment):
                yield from _visible(user)

    def heal(self) -> list[str]:
        """Complete what an earlier run left half done.

        Returns:
            What was done, in words.
        """
        told = []
        for path in self.staging.iterdir():
            shutil.rmtree(path)
            told.append("removed a submission that was sealed in part; it is sealed anew")
        if aside := self.ledger.repair():
            told.append(f"the ledger ended in a line cut short, moved to {aside.name}")
        known = {line["seal"] for line in self.ledger.lines}
        for path in self.places():
            if path.name not in known:
                told.append(self._adopt(path))
        known = {line["seal"] for line in self.ledger.lines}
        for path in self.due.iterdir():
            if path.name not in known:
                path.unlink()
        return told

    def _adopt(self, path: Path) -> str:
        """Give a seal without a line in the ledger its line."""
        where = self.name(path)
        if faults := list(self.check(path)):
            return f"{where} is not in the ledger and is damaged: {faults[0]}"
        raw = (path / MANIFEST).read_bytes()
        self._owe_receipt(path.name)
        self.ledger.append(entry_of(json.loads(raw), raw))
        return f"{where} was given its line in the ledger"

    def check(self, path: Path, line: dict | None = None) -> Iterator[str]:
        """What is wrong with a seal.

        Args:
            line: what the ledger says about it.
        """
        try:
            raw = (path / MANIFEST).read_bytes()
            manifest = json.loads(raw)
            entry = entry_of(manifest, raw)
            sound = canonical(manifest) == raw and entry["content"] == content(manifest["files"])
            sound = sound and self.place(manifest) == path
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            yield f"{MANIFEST} cannot be read: {error}"
            return
        if not sound or (line is not None and line | entry != line):
            yield f"{MANIFEST} is not as it was sealed"
            return
        yield from self._check_files(path / "files", manifest["files"])

    def _check_files(self, top: Path, files: dict[str, dict]) -> Iterator[str]:
        found = {
            os.path.relpath(os.path.join(directory, name), top)
            for directory, _, names in os.walk(top)
            for name in names
        }
        for name in sorted(found - set(files)):
            yield f"files/{name} was not sealed"
        for name, file in sorted(files.items()):
            if name not in found:
                yield f"files/{name} is missing"
            elif digest(top / name) != (file["size"], file["sha256"]):
                yield f"files/{name} is not as it was sealed"

    def verify(self) -> Iterator[tuple[str, str]]:
        """Whose, and what: everything in store and ledger that is not as it was written.

        What is nobody's belongs to `LEDGER`. What is sealed meanwhile is left to the next time.

        Raises:
            Refused: another run holds the store for too long.
        """
        with (
            self.locked()
        ):  # so that each seal in the making has both its directory and its line, or neither
            places = list(self.places())
        yield from ((LEDGER, fault) for fault in self.ledger.faults)
        if self.ledger.torn:
            yield LEDGER, "the ledger ends in a line cut short"
        lines = {line["seal"]: line for line in self.ledger.lines}
        for path in places:
            line, where, user = lines.pop(path.name, None), self.name(path), path.parent.name
            if line is None:
                yield user, f"{where}: the ledger has no sound line for it"
            for fault in self.check(path, line):
                yield user, f"{where}: {fault}"
        for line in lines.values():
            yield line["user"], f"{self.name(self.place(line))}: missing; ledger line {line['seq']}"

    def name(self, path: Path) -> str:
        """A seal as it is spoken of."""
        return str(path.relative_to(self.root))


def content(files: dict[str, dict]) -> str:
    """One value for what a submission holds, whenever and wherever it was sealed."""
    return sha256(canonical(files))


def digest(path: Path) -> tuple[int, str]:
    """Size and sha256 of a file of ours."""
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), found


def _lock(fd: int) -> None:
    until = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > until:
                raise Refused("another run is at work in the store; try again later") from error
        time.sleep(0.1)


def _visible(path: Path) -> list[Path]:
    """The directories in a directory of ours, without those for work in hand."""
    with os.scandir(path) as entries:
        names = [entry.name for entry in entries if entry.is_dir() and entry.name[0] != "."]
    return [path / name for name in sorted(names)]


def write_file(path: Path, data: bytes) -> None:
    """A file that lasts; its directory is flushed by the caller."""
    with open(path, "wb", opener=private) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
