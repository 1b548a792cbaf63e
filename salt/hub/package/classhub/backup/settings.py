"""What is saved, where to, and how long it is kept: /etc/classhub/backup/backup.json, for root alone."""

import dataclasses
import json
import zoneinfo
from dataclasses import dataclass, field
from pathlib import Path

from classhub.course.report import Refused

FILE = Path("/etc/classhub/backup/backup.json")


@dataclass(frozen=True)
class Drill:
    """How much the nightly drill restores.

    Attributes:
        files: of the newest snapshot, at random; the databases come on top
    """

    files: int = 50


@dataclass(frozen=True)
class Settings:
    """Settings of the backup.

    Attributes:
        repository: in restic's notation
        password: of the repository
        environment: what restic needs besides, such as the keys of an S3 store
        ssh_key, known_hosts: for a repository by sftp; empty where there are none
        interval: seconds between two backups
        keep: how many snapshots of each hour, day, week and month
        max_file: the largest file that is saved, such as 10G (powers of 1024)
        timezone: of the course
        homes: the class's filesystem
        trees: what is saved
        databases: SQLite files in them, which are copied first
        excluded: restic's patterns of what is not saved
        pinned: what the hub remembers of the filesystem
        ledger: who was ever in the class
        course: settings of the course
        state: what the backup remembers; `state/stage` is part of each snapshot
        cache: restic's
        since: Unix time at which these settings were written
    """

    repository: str
    password: str
    timezone: str = "Etc/UTC"
    environment: dict[str, str] = field(default_factory=dict)
    ssh_key: str = ""
    known_hosts: str = ""
    interval: int = 3600
    keep: dict[str, int] = field(default_factory=dict)
    max_file: str = "10G"
    drill: Drill = field(default_factory=Drill)
    homes: Path = Path("/home")
    trees: tuple[Path, ...] = ()
    databases: tuple[Path, ...] = ()
    excluded: tuple[str, ...] = ()
    pinned: Path = Path("/var/lib/classhub/filesystem.json")
    ledger: Path = Path("/var/lib/classhub/uids.json")
    course: Path = Path("/etc/classhub/course.json")
    state: Path = Path("/var/lib/classhub/backup")
    cache: Path = Path("/var/cache/classhub-backup")
    since: float = 0

    @property
    def marker(self) -> Path:
        return self.homes / ".classhub/filesystem.json"

    @property
    def stage(self) -> Path:
        return self.state / "stage"

    @property
    def zone(self) -> zoneinfo.ZoneInfo:
        return zoneinfo.ZoneInfo(self.timezone)

    @property
    def max_bytes(self) -> int:
        units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
        unit = units.get(self.max_file[-1], 1)
        return int(self.max_file.rstrip("KMGT")) * unit

    @property
    def saved(self) -> tuple[Path, ...]:
        """The trees, and the stage where no tree has it."""
        inside = any(self.stage.is_relative_to(tree) for tree in self.trees)
        return self.trees if inside else (*self.trees, self.stage)


def load(path: Path = FILE) -> Settings:
    """Read the settings.

    Raises:
        Refused: there is no backup of this class, or the file is wrong.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        kinds = {item.name: item.type for item in dataclasses.fields(Settings)}
        known = {key: _typed(kinds[key], value) for key, value in data.items()}
        return Settings(**known, since=path.stat().st_ctime)
    except FileNotFoundError:
        raise Refused(
            "this class has no backup: give classhub:backup:repository in pillar, and apply the state backup to the hub"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused(f"{path} cannot be used: {error!r}") from error


def _typed(kind: object, value: object) -> object:
    if kind is Path:
        return Path(value)
    if kind is Drill:
        return Drill(**value)
    if kind == tuple[Path, ...]:
        return tuple(map(Path, value))
    return tuple(value) if isinstance(value, list) else value
