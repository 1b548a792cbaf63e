"""A git repository as a place that assignments come from. Its content is read object by object, never checked out.

The repository is kept as a mirror, so that only what is new is fetched. Nothing of it runs: there are no hooks, no
filters and no submodules.
"""

import contextlib
import fnmatch
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from classhub.course import tools, trees
from classhub.course.report import Refused, Unfit
from classhub.course.settings import Settings

FETCH_TIMEOUT = 600
READ_TIMEOUT = 120
NOT_FOUND = 127  # exit code of setpriv
COMMIT = re.compile(r"[0-9a-f]{7,40}")
LINK, MODULE, EXECUTABLE = "120000", "160000", "100755"
OPTIONS = (
    "-c", "core.hooksPath=/dev/null", "-c", "maintenance.auto=false", "-c", "gc.auto=0",
    "-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=60",
)  # fmt: skip
REFS = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")


class Entry(NamedTuple):
    """A line of `git ls-tree`."""

    mode: str
    kind: str
    object: str
    size: int
    path: str

    @classmethod
    def parse(cls, line: bytes) -> "Entry":
        head, _, path = line.partition(b"\t")
        mode, kind, name, size = head.decode().split()
        return cls(mode, kind, name, int(size) if size.isdecimal() else 0, os.fsdecode(path))

    @property
    def parts(self) -> list[str]:
        return self.path.split("/")

    def check(self) -> None:
        """Refuse what cannot become a file or a directory of the course.

        Raises:
            Unfit: why it cannot.
        """
        if self.mode == LINK:
            raise Unfit(f"{self.path} is a symbolic link: put the file itself there")
        if self.mode == MODULE:
            raise Unfit(f"{self.path} is another repository: put its files there")
        if not {"", ".", "..", ".git"}.isdisjoint(self.parts) or "\0" in self.path:
            raise Unfit(f"{self.path!r} cannot be a name")
        if len(self.parts) > trees.DEEPEST:
            raise Unfit(f"{self.path} is too deep")


class Repository:
    """The mirror of the course's repository, at one commit.

    Attributes:
        words: how it is spoken of
        commit: the commit of the ref
    """

    def __init__(self, settings: Settings, path: Path) -> None:
        self.settings, self.path = settings, path
        self.url, self.ref = settings.source_git, settings.source_ref
        self.words, self.commit = f"{self.url} at {self.ref}", ""

    # -- git

    def git(self, *words: str, stdin: bytes = b"", timeout: float = READ_TIMEOUT) -> bytes:
        """What git prints.

        Raises:
            Refused: it failed; its last words are in the sentence.
        """
        command = ["git", *OPTIONS, f"--git-dir={self.path}", *words]
        try:
            done = tools.run(command, Path("/"), self._environment(), timeout, stdin)
        except subprocess.TimeoutExpired:
            raise Refused(
                f"{self.url} did not answer in time; the course keeps what it has"
            ) from None
        if done.returncode == NOT_FOUND:
            raise Refused("git is not installed: apply the states of the hub")
        if done.returncode != 0:
            lines = done.stderr.decode(errors="replace").splitlines()
            why = next(
                (line for line in lines if line and "Warning:" not in line), "without a word"
            )
            raise Refused(f"{self.url} cannot be read; the course keeps what it has: {why.strip()}")
        return done.stdout

    def _environment(self) -> dict[str, str]:
        # a host that is seen for the first time is written into the first of these
        known = f"{self.path}/known_hosts {self.settings.mirror}/known_hosts"
        key = self.settings.deploy_key
        ssh = ["ssh", "-F", "/dev/null", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20"]
        ssh += ["-o", "StrictHostKeyChecking=accept-new", "-o", f"UserKnownHostsFile={known}"]
        ssh += ["-o", "IdentitiesOnly=yes", "-i", str(key)] if key.exists() else []
        return {
            "PATH": "/usr/bin:/bin",
            "HOME": "/nonexistent",
            "LC_ALL": "C.UTF-8",
            "GIT_ALLOW_PROTOCOL": "file:https:ssh",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_SSH_COMMAND": shlex.join(ssh),
            "GIT_TERMINAL_PROMPT": "0",
        }

    def fetch(self) -> None:
        """Bring the mirror to what the repository has now, and find the commit.

        Raises:
            Refused: the repository cannot be reached, or does not have the ref.
        """
        self.path.mkdir(mode=0o700, exist_ok=True)
        for left in self.path.rglob("*.lock"):
            left.unlink()  # of a run that was killed: there is only one at a time
        self.git("init", "--quiet", "--bare", str(self.path))  # if it is one, this is harmless
        words = (
            "--quiet",
            "--prune",
            "--no-tags",
            "--no-recurse-submodules",
            "--no-write-fetch-head",
        )
        self.git("fetch", *words, "--", self.url, *REFS, timeout=FETCH_TIMEOUT)
        self.commit = self._find()

    def _find(self) -> str:
        candidates = [f"refs/heads/{self.ref}", f"refs/tags/{self.ref}"]
        candidates += [self.ref] if COMMIT.fullmatch(self.ref) else []
        for name in candidates:
            with contextlib.suppress(Refused):
                found = self.git(
                    "rev-parse", "--quiet", "--verify", "--end-of-options", f"{name}^{{commit}}"
                )
                return found.decode().strip()
        raise Refused(f"{self.url} has no branch, tag or commit {self.ref}")

    def entries(self, tree: str, *options: str) -> list[Entry]:
        listed = self.git("ls-tree", "-z", "-l", *options, "--end-of-options", tree)
        return [Entry.parse(line) for line in listed.split(b"\0") if line]

    # -- assignments

    def assignments(self) -> dict[str, Entry]:
        """The directories in the subdirectory, and links that could pass for one, by name.

        Raises:
            Refused: there is no such directory.
        """
        subdir = self.settings.source_subdir.strip("/")
        try:
            found = self.entries(f"{self.commit}:{subdir}")
        except Refused:
            raise Refused(f"there is no directory {subdir} in {self.words}") from None
        return {entry.path: entry for entry in found if entry.kind != "blob" or entry.mode == LINK}

    def load(self, entry: Entry) -> trees.Folder:
        """An assignment's content, but for what nbgrader ignores.

        Raises:
            Unfit: it has links or other repositories in it, or is too large.
        """
        entry.check()
        found = [item for item in self.entries(entry.object, "-r", "-t") if not _ignored(item)]
        for item in found:
            item.check()
        most_files, most_bytes = self.settings.max_files, self.settings.max_bytes
        if len(found) > most_files or sum(item.size for item in found) > most_bytes:
            raise Unfit(f"it has more than {most_files} files or {most_bytes >> 20} MiB")
        folders = {"": trees.Folder()}
        for item in found:
            if item.kind == "tree":
                folders[item.path] = trees.Folder()
                folders[_above(item)].folders[item.parts[-1]] = folders[item.path]
        files = [item for item in found if item.kind == "blob"]
        for item, data in zip(files, self._blobs(files), strict=True):
            folders[_above(item)].files[item.parts[-1]] = (data, item.mode == EXECUTABLE)
        return folders[""]

    def _blobs(self, files: Iterable[Entry]) -> Iterator[bytes]:
        asked = "".join(f"{file.object}\n" for file in files).encode()
        told = memoryview(self.git("cat-file", "--batch", stdin=asked))
        start = 0
        for file in files:
            # "<object> blob <size>\n<content>\n"
            start += len(f"{file.object} blob {file.size}\n")
            yield bytes(told[start : start + file.size])
            start += file.size + 1


def _above(entry: Entry) -> str:
    return "/".join(entry.parts[:-1])


def _ignored(entry: Entry) -> bool:
    return any(
        fnmatch.fnmatchcase(part, pattern) for part in entry.parts for pattern in trees.IGNORED
    )


@contextlib.contextmanager
def fetched(settings: Settings, test: bool) -> Iterator[Repository]:
    """The repository as it is now.

    Args:
        test: leave the mirror as it is; what is new is fetched to a place that is gone afterwards.
    """
    if not test:
        repository = Repository(settings, settings.mirror)
        repository.fetch()
        yield repository
        return
    scratch = Path(tempfile.mkdtemp(prefix="source-"))
    try:
        repository = Repository(settings, scratch)
        if settings.mirror.exists():
            alternates = scratch / "objects" / "info" / "alternates"
            alternates.parent.mkdir(parents=True)
            alternates.write_text(f"{settings.mirror}/objects\n", encoding="utf-8")
        repository.fetch()
        yield repository
    finally:
        shutil.rmtree(scratch)
