"""Which account elsewhere belongs to whom: its number, kept from a person's first sign-in on.

A login can be given up and taken by a stranger; the number behind it cannot. The file is JSON, username -> number,
empty for whom it is forgotten, and belongs to the account JupyterHub runs as. On the hub:

    python -m classhub.identities forget ada
"""

import argparse
import contextlib
import fcntl
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

FILE = "/var/lib/jupyterhub/identities.json"
FORGOTTEN = ""  # not the same as nobody: whoever is signed in as the person has to go


class Damaged(Exception):
    """The file cannot be read. It is not taken for empty: then whoever comes first would be believed."""


@contextlib.contextmanager
def opened(path: str | Path) -> Iterator[dict[str, str]]:
    """The identities, for one at a time; what is changed in them is written when all went well.

    Raises:
        Damaged: the file is there and not readable.
    """
    path = Path(path)
    with open(path.with_suffix(".lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = read(path)
        before = dict(known)
        yield known
        if known != before:
            write(path, known)


def read(path: Path) -> dict[str, str]:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise Damaged(f"{path}: {error}") from error
    if not isinstance(known, dict) or not all(isinstance(one, str) for one in known.values()):
        raise Damaged(f"{path}: it does not map usernames to numbers")
    return known


def write(path: Path, known: dict[str, str]) -> None:
    """Write beside and rename: a hub that is killed leaves the old file or the new one."""
    beside = path.with_suffix(".new")
    with open(beside, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)
        json.dump(known, file, indent=1, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def forget(path: Path, username: str, test: bool) -> dict[str, dict]:
    """The report of a verb: see classhub.course."""
    with opened(path) as known:
        outcome = "skipped: has not signed in with an account elsewhere"
        if known.get(username) and test:
            outcome = "done: would be forgotten"
        elif known.get(username):
            known[username] = FORGOTTEN
            outcome = "done: forgotten; the next sign-in counts"
    return {"table": {username: outcome}, "summary": {}}


def become_owner(folder: Path) -> None:
    """Root does not write into a directory of the hub's account: act as that account."""
    owner = folder.stat()
    if os.geteuid() == 0 and owner.st_uid:
        os.setgroups([])
        os.setresgid(*[owner.st_gid] * 3)
        os.setresuid(*[owner.st_uid] * 3)


def main() -> int:
    parser = argparse.ArgumentParser(prog="classhub.identities", description=__doc__)
    parser.add_argument("verb", choices=["forget"])
    parser.add_argument("username")
    parser.add_argument("--file", type=Path, default=Path(FILE))
    parser.add_argument("--test", action="store_true", help="only say what would be done")
    words = parser.parse_args()
    try:
        become_owner(words.file.parent)
        report = forget(words.file, words.username, words.test)
    except (Damaged, OSError) as error:
        print(json.dumps({"error": str(error)}))
        return 1
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
