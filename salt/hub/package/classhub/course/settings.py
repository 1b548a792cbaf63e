"""The course as its tools know it: where things are and who takes part, from /etc/classhub/course.json."""

import dataclasses
import json
import re
import zoneinfo
from dataclasses import dataclass, field
from pathlib import Path

from classhub.course.report import Refused
from classhub.culling.rules import Rules

FILE = Path("/etc/classhub/course.json")
USERNAME = re.compile(r"[a-z_][a-z0-9_.-]{0,31}")
COURSE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
# nbgrader takes neither "/" nor "+"; a name that starts with a dot would hide from `nbgrader list`.
ASSIGNMENT = re.compile(r"\w[\w .-]{0,98}\w|\w")
LEAST_UID = 1000


@dataclass(frozen=True)
class Person:
    """Somebody of the roster. The account's group has the same number as the account."""

    username: str
    uid: int
    role: str = "student"
    name: str = ""
    email: str = ""
    section: str = ""

    @property
    def gid(self) -> int:
        return self.uid


@dataclass(frozen=True)
class Limits:
    """What one submission may use while it is graded.

    Attributes:
        memory, disk: bytes; the disk is in memory and counts as such
        cpus: cores that it may use
        per_cpu: submissions that share a core
        pids: processes and threads
        cell_seconds, seconds: of one cell, and of the whole submission
        output: characters of one notebook's outputs
        wait: seconds without any progress until those that are left are given up
    """

    memory: int = 1 << 30
    disk: int = 256 << 20
    cpus: float = 1.0
    per_cpu: int = 2
    pids: int = 512
    cell_seconds: int = 30
    seconds: int = 600
    output: int = 10_000_000
    wait: int = 600


@dataclass(frozen=True)
class Settings:
    """Settings of one course.

    Attributes:
        max_files, max_bytes: of one assignment or submission
        grace: seconds of lateness that are forgiven
        assignments: the calendar, name -> {release, due, cutoff, return, grace, extensions}
        source_*: where assignments come from
        welcomed: who was given what had been released before they came
        late_penalty: "none", or "zero" for no points
        image_file: JSON file that names the image of the class
        spool: where submissions lie while they are graded, for the nodes to reach
        cull: which servers are stopped
        hub_api: URL of the hub's REST API
        hub_proxy: URL of the hub's proxy, where students come in
        culling_dir: what culling remembers, and its log
        activity_db: who used the class, and when
        activity_days: how long that is kept; 0 is for ever
        seat: bytes of memory that a server reserves
        quotas: whose limits in the filesystem of the homes are the class's
        disk_state: how full the disk with the homes is, for the hub
        disk_warn: part of it in use from which the operator is warned; 0 is never
    """

    course_id: str
    people: tuple[Person, ...]
    course_dir: Path = Path("/var/lib/classhub/course")
    welcomed: Path = Path("/var/lib/classhub/welcomed.json")
    exchange: Path = Path("/home/.classhub/exchange")
    store: Path = Path("/var/lib/classhub/sealed")
    homes: Path = Path("/home")
    timezone: str = "Etc/UTC"
    max_files: int = 10_000
    max_bytes: int = 512 << 20
    grace: int = 0
    assignments: dict[str, dict] = field(default_factory=dict)
    source_directory: str = ""
    source_git: str = ""
    source_ref: str = "main"
    source_subdir: str = "source"
    mirror: Path = Path("/var/lib/classhub/source.git")
    deploy_key: Path = Path("/etc/classhub/deploy_key")
    late_penalty: str = "none"
    grading: Limits = field(default_factory=Limits)
    image_file: Path = Path("/etc/jupyterhub/image.json")
    spool: Path = Path("/home/.classhub/grading")
    cull: Rules = field(default_factory=Rules)
    hub_api: str = "http://127.0.0.1:8081/hub/api"
    culler_token: Path = Path("/etc/jupyterhub/culler.token")
    hub_proxy: str = "http://127.0.0.1:8000"
    doctor_token: Path = Path("/etc/jupyterhub/doctor.token")
    culling_dir: Path = Path("/var/lib/classhub/culling")
    activity_db: Path = Path("/srv/stats/db/activity.sqlite")
    activity_days: int = 0
    seat: int = 1 << 30
    quotas: Path = Path("/var/lib/classhub/quotas.json")
    disk_state: Path = Path("/run/classhub/disk.json")
    disk_warn: float = 0.9
    by_name: dict[str, Person] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {person.username: person for person in self.people})
        for fault in self.faults():
            raise Refused(f"settings of the course: {fault}")

    def faults(self) -> list[str]:
        """What is wrong with the settings: a name here becomes part of a path, and a uid an owner."""
        faults = [
            f"{person.username!r} with uid {person.uid!r} is not a person of a class"
            for person in self.people
            if not USERNAME.fullmatch(person.username)
            or type(person.uid) is not int
            or person.uid < LEAST_UID
        ]
        if len({person.uid for person in self.people}) < len(self.people):
            faults.append("two people have the same uid")
        if len(self.by_name) < len(self.people):
            faults.append("two people have the same username")
        if not COURSE.fullmatch(self.course_id):
            faults.append(f"course_id {self.course_id!r} is not a course id")
        if self.timezone not in zoneinfo.available_timezones():
            faults.append(f"timezone {self.timezone!r} is not known")
        return faults

    @property
    def course_exchange(self) -> Path:
        return self.exchange / self.course_id

    @property
    def zone(self) -> zoneinfo.ZoneInfo:
        return zoneinfo.ZoneInfo(self.timezone)

    @property
    def students(self) -> tuple[Person, ...]:
        return tuple(person for person in self.people if person.role == "student")

    def chosen(self, names: str) -> tuple[Person, ...]:
        """The people of a comma-separated list; all students if it is empty.

        Raises:
            Refused: somebody is not in the roster.
        """
        if not names:
            return self.students
        wanted = list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
        unknown = sorted(set(wanted) - set(self.by_name))
        if unknown:
            raise Refused(f"not in the roster: {', '.join(unknown)}")
        return tuple(self.by_name[name] for name in wanted)


def load(path: Path = FILE) -> Settings:
    """Read the settings.

    Raises:
        Refused: the file is missing or wrong.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        people = tuple(Person(**entry) for entry in data.pop("people"))
        limits = Limits(**data.pop("grading", {}))
        rules = Rules(**data.pop("cull", {}))
        kinds = {item.name: item.type for item in dataclasses.fields(Settings)}
        values = {key: Path(value) if kinds[key] is Path else value for key, value in data.items()}
        return Settings(people=people, grading=limits, cull=rules, **values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused(f"{path} cannot be used: {error!r}") from error


def check_assignment(name: str) -> str:
    """The name, if it can be an assignment's.

    Raises:
        Refused: it cannot; it becomes a directory in each home.
    """
    if not ASSIGNMENT.fullmatch(name):
        raise Refused(f"{name!r} cannot be the name of an assignment")
    return name
