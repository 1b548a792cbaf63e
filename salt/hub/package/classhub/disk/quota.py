"""Quotas by user of the filesystem that has the homes, by the tools of Debian's package quota.

They are read for all users at once and set for all at once: two processes, however large the class is.
"""

import csv
import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from classhub.course.report import Refused

PATIENCE = 60  # seconds for one of the tools
HOWTO = "docs/howto/quotas.md"


class NoQuotas(Refused):
    """The filesystem has none to read or to set; a sentence says why, and what to do."""


class NoTools(NoQuotas):
    """The tools are not installed."""


class Limits(NamedTuple):
    """What somebody may have, in KiB and files: up to `soft` always, up to `hard` for the filesystem's grace time.

    0 is no limit.
    """

    soft: int = 0
    hard: int = 0
    files_soft: int = 0
    files_hard: int = 0


class Usage(NamedTuple):
    """What somebody has.

    Attributes:
        kib, files: in use
        limits: of them
        until: Unix time at which the soft limit becomes a hard one; 0 if it does not, or the filesystem does not say
    """

    kib: int = 0
    files: int = 0
    limits: Limits = Limits()
    until: int = 0

    @property
    def is_over(self) -> bool:
        """Whether more than the soft limit is in use."""
        soft, files_soft = self.limits.soft, self.limits.files_soft
        return bool((soft and self.kib > soft) or (files_soft and self.files > files_soft))


def source(path: Path) -> tuple[str, str]:
    """The device and the type of the filesystem that a directory is on; the tools know no bind mounts."""
    columns = ["--json", "--nofsroot", "--output", "SOURCE,FSTYPE", "--target", str(path)]
    done = _run(["findmnt", *columns])
    if done.returncode:
        raise NoQuotas(f"nothing says on which filesystem {path} is")
    (found,) = json.loads(done.stdout)["filesystems"]
    return found["source"], found["fstype"]


def read(path: Path) -> dict[int, Usage]:
    """uid -> usage and limits, of everybody who has anything there or a limit.

    Raises:
        NoQuotas: the filesystem has none.
    """
    device, kind = source(path)
    # verbose: those too who have limits and nothing else; numbers instead of names, and times as numbers
    options = ["--user", "--verbose", "--no-names", "--raw-grace", "--output=csv"]
    done = _run(["repquota", *options, device])
    if done.returncode:
        raise NoQuotas(
            f"{path} ({kind} on {device}) keeps no quotas by user: {_last(done)}. {HOWTO} says how to make it keep them"
        )
    state = _run(["quotaon", "--print-state", "--user", device]).stdout
    if state.rstrip().endswith("is off"):
        raise NoQuotas(f"{path} has quotas, but they are switched off. Say: quotaon --user {path}")
    return {int(row["User"].removeprefix("#")): _usage(row) for row in _rows(done.stdout)}


def put(path: Path, wanted: Mapping[int, Limits]) -> str:
    """Set limits, and go on after one that cannot be set.

    Args:
        path: in the filesystem
        wanted: uid -> limits

    Returns:
        the tool's last complaint; empty if it has none.
    """
    lines = "".join(f"{uid} {' '.join(map(str, limits))}\n" for uid, limits in wanted.items())
    device, _ = source(path)
    # -b: from the standard input; -c: go on
    done = _run(["setquota", "-u", "-b", "-c", device], lines)
    return done.stderr.strip() and _last(done)


def _rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(line for line in text.splitlines() if line.strip()))


def _usage(row: dict[str, str]) -> Usage:
    number = {name: int(value or 0) for name, value in row.items() if name not in _WORDS}
    limits = Limits(
        number["BlockSoftLimit"],
        number["BlockHardLimit"],
        number["FileSoftLimit"],
        number["FileHardLimit"],
    )
    ends = [time for time in (number["BlockGrace"], number["FileGrace"]) if time]
    return Usage(number["BlockUsed"], number["FileUsed"], limits, min(ends, default=0))


_WORDS = ("User", "BlockStatus", "FileStatus")


def _run(command: list[str], text: str = "") -> subprocess.CompletedProcess:
    tool = shutil.which(command[0], path="/usr/sbin:/usr/bin:/sbin:/bin")
    if not tool:
        raise NoTools("Debian's package quota is not installed on the hub")
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
    try:
        return subprocess.run(
            [tool, *command[1:]],
            input=text,
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired:
        raise NoQuotas(f"{command[0]} did not answer within {PATIENCE} seconds") from None


def _last(done: subprocess.CompletedProcess) -> str:
    """What a tool complains of first: the lines after it follow from that."""
    lines = done.stderr.strip().splitlines() or ["without a word"]
    return lines[0].partition(": ")[2].rstrip(".") or lines[0]
