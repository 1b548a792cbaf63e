"""Files that are replaced whole: nobody sees half of one, or a secret with a mode that others may read."""

import grp
import os
import pwd
import stat
import tempfile
from pathlib import Path


def owner(path: str) -> tuple[str, str, str]:
    """User, group and four-digit mode of a file."""
    there = os.stat(path)
    return _user(there.st_uid), _group(there.st_gid), f"{stat.S_IMODE(there.st_mode):04o}"


def write(
    path: str, text: str, user: str = "root", group: str = "root", mode: str = "0600"
) -> None:
    """Write a text beside ``path``, with owner and mode, and rename it.

    Raises:
        LookupError: there is no such user or group.
        OSError: it cannot be written; what was there stays.
    """
    try:
        uid, gid = pwd.getpwnam(user).pw_uid, grp.getgrnam(group).gr_gid
    except KeyError:
        raise LookupError(f"there is no user {user} or no group {group}") from None
    folder, name = os.path.split(path)
    descriptor, beside = tempfile.mkstemp(prefix=f".{name}.", dir=folder)  # mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            os.fchown(file.fileno(), uid, gid)
            os.fchmod(file.fileno(), int(mode, 8))
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError:
        Path(beside).unlink(missing_ok=True)
        raise


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
