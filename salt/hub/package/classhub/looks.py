"""Who looks into another's server: each time the hub lets one in, a line that is on the disk before it does.

JupyterHub lets a browser into a server with a token that it makes for that browser and server; and who may enter
servers can make tokens for programs, too. Both are entries of one table of its database, and so are recorded here.
"""

import json
import logging
import os
import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from jupyterhub import orm
from sqlalchemy import event, select
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

log = logging.getLogger(__name__)
_SERVER = "jupyterhub-user-"  # what the name of a server's OAuth client begins with
_WRITING = threading.Lock()


class Unrecorded(SQLAlchemyError):
    """A look that cannot be recorded, and is therefore refused. Of this kind, JupyterHub rolls its database back."""


def record_looks(people: Iterable[str], file: Path) -> None:
    """From now on, record when the hub lets one of these people into another's server.

    Args:
        people: usernames.
        file: a JSON object a line: ``time``, ``who`` and ``what``.
    """
    people = frozenset(people)

    def look(mapper: object, connection: Connection, token: orm.APIToken) -> None:
        found = select(orm.User.name).where(orm.User.id == token.user_id)
        who = connection.execute(found).scalar()
        if who not in people:
            return
        client = token.client_id or ""
        if client == f"{_SERVER}{who}":
            return
        if client.startswith(_SERVER):
            _write(file, who, f"let into the server of {client.removeprefix(_SERVER)}")
        elif client in ("", "jupyterhub"):
            _write(file, who, "made a token, with which programs get into servers")

    event.listen(orm.APIToken, "before_insert", look)


def _write(file: Path, who: str, what: str) -> None:
    time = datetime.now(UTC).isoformat(timespec="milliseconds")
    line = json.dumps({"time": time, "who": who, "what": what}) + "\n"
    log.warning("%s: %s", who, what)
    try:
        with _WRITING:
            _append(file, line.encode())
    except OSError as error:
        raise Unrecorded(
            f"{file} cannot be written, and nobody is let in unrecorded: {error}"
        ) from error


def _append(file: Path, line: bytes) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        if os.write(descriptor, line) != len(line):
            os.ftruncate(descriptor, size)
            raise OSError("the disk is full")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
