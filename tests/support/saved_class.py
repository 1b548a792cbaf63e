"""A small class on this machine, with a backup: homes of real uids, databases in use, and restic's repository."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.support.loading import ROOT

PACKAGE = ROOT / "salt" / "hub" / "package"
sys.path.insert(0, str(PACKAGE))

FIRST_UID = 28101
PEOPLE = ("ada", "bob", "cleo")
PASSWORD = "correct horse"
NOTEBOOK = "ps1/problem1.ipynb"


class Answer(NamedTuple):
    """What a verb printed, and how it ended."""

    code: int
    table: dict[str, str]
    summary: dict
    error: str
    log: str


class SavedClass:
    """A class below one directory.

    Attributes:
        top: the directory; everybody may pass through it
        repository: in restic's notation
    """

    def __init__(self, top: Path, **changed: object) -> None:
        self.top, self.repository = top, str(top / "repository")
        self.home, self.var = top / "hub/home", top / "hub/var"
        self.state, self.etc = self.var / "backup", top / "hub/etc"
        self.hub_db = top / "hub/jupyterhub/jupyterhub.sqlite"
        self.gradebook = self.var / "course/gradebook.db"
        self.activity = top / "hub/stats/activity.sqlite"
        self.config = top / "backup.json"
        self.found()
        self.configure(**changed)

    def found(self) -> None:
        """A class as its states leave it, after some weeks of work."""
        for path in (self.home, self.var, self.etc, self.hub_db.parent, self.activity.parent):
            path.mkdir(parents=True, exist_ok=True)
        (self.top / "hub").chmod(0o755)
        (self.home / ".classhub/images").mkdir(parents=True)
        (self.home / ".classhub/images/student.tar").write_bytes(b"an image")
        for path in (self.home / ".classhub/filesystem.json", self.var / "filesystem.json"):
            path.write_text('{"id": "the-class"}\n')
        uids = {name: FIRST_UID + i for i, name in enumerate(PEOPLE)}
        (self.var / "uids.json").write_text(json.dumps(uids))
        (self.etc / "secrets.env").write_text("JUPYTERHUB_CRYPT_KEY=not-a-secret\n")
        (self.etc / "secrets.env").chmod(0o600)
        for name in PEOPLE:
            self.write(name, NOTEBOOK, f"{name}'s answer")
        for path in (self.hub_db, self.gradebook, self.activity):
            path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(path)) as database:
                database.execute("create table row (id integer primary key, text)")
                database.execute("insert into row (text) values (?)", (path.stem,))
                database.commit()
        people = [{"username": name, "uid": uid} for name, uid in uids.items()]
        places = {"homes": str(self.home), "course_dir": str(self.var / "course")}
        course = {"course_id": "intro", "timezone": "Europe/Paris", "people": people} | places
        (self.top / "course.json").write_text(json.dumps(course))

    def configure(self, **changed: object) -> None:
        """Write the settings of the backup."""
        known = {
            "repository": self.repository,
            "password": PASSWORD,
            "timezone": "Europe/Paris",
            "keep": {"hourly": 48, "daily": 14, "weekly": 8, "monthly": 12},
            "drill": {"files": 20},
            "homes": str(self.home),
            "trees": [
                str(path)
                for path in (
                    self.home,
                    self.var,
                    self.etc,
                    self.hub_db.parent,
                    self.activity.parent,
                )
            ],
            "databases": [str(path) for path in (self.hub_db, self.gradebook, self.activity)],
            "excluded": [str(self.home / ".classhub/images"), f"{self.home}/*/.cache"],
            "pinned": str(self.var / "filesystem.json"),
            "ledger": str(self.var / "uids.json"),
            "course": str(self.top / "course.json"),
            "state": str(self.state),
            "cache": str(self.top / "cache"),
        }
        self.config.write_text(json.dumps(known | changed))

    def uid(self, user: str) -> int:
        return FIRST_UID + PEOPLE.index(user)

    def write(self, user: str, name: str, text: str | bytes) -> Path:
        """Write a file in a home, as its student's."""
        uid, path = self.uid(user), self.home / user / name
        missing = [folder for folder in path.parents if not folder.exists()]
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        for one in (*missing, path):
            os.chown(one, uid, uid)
            one.chmod(0o600 if one == path else 0o700)
        return path

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "classhub.backup", "--config", str(self.config), *words]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(PACKAGE)}

    def say(self, *words: str) -> Answer:
        """A verb, said to its end."""
        done = subprocess.run(
            self.command(*words),
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        try:
            told = json.loads(done.stdout)
        except ValueError:
            raise AssertionError(done.stdout + done.stderr) from None
        return Answer(
            done.returncode,
            told.get("table", {}),
            told.get("summary", {}),
            told.get("error", ""),
            done.stderr,
        )

    def restic(self, *words: str) -> str:
        """restic itself, at the class's repository."""
        environment = {
            **os.environ,
            "RESTIC_PASSWORD": PASSWORD,
            "RESTIC_REPOSITORY": self.repository,
            "RESTIC_CACHE_DIR": str(self.top / "cache"),
        }
        done = subprocess.run(
            ["restic", *words], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def rows(self, path: Path) -> list[str]:
        with closing(sqlite3.connect(path)) as database:
            return [text for (text,) in database.execute("select text from row order by id")]

    def burn_down(self) -> None:
        """The hub is lost; a new one has what bootstrap and the state `backup` give it."""
        remove(self.top / "hub")
        shutil.rmtree(self.top / "cache", ignore_errors=True)
        self.home.mkdir(parents=True)
        self.etc.mkdir()


def remove(path: Path) -> None:
    """Remove a tree, also one that is deeper than Python's own way bears."""
    subprocess.run(["rm", "-rf", "--", path], check=True)


@contextmanager
def saved_class(**changed: object) -> Iterator[SavedClass]:
    """A class that is gone at the end."""
    top = Path(tempfile.mkdtemp(prefix="classhub-saved-"))
    top.chmod(0o711)
    try:
        yield SavedClass(top, **changed)
    finally:
        remove(top)
