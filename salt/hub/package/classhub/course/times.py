"""When an assignment is due, and when a submission was made.

The calendar's times are the course's wall clock, whatever daylight saving does; in here all is UTC. No time that a
student writes plays a part: not the one in a submission's name, not timestamp.txt, not a file's mtime.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from classhub.course.report import Refused
from classhub.course.settings import Settings


@dataclass(frozen=True)
class Times:
    """When an assignment is due, and after when nothing counts any more; nothing means never.

    Attributes:
        due, cutoff: in UTC
        extensions: username -> a later time, for both
        grace: lateness that is forgiven, of both
    """

    due: datetime | None = None
    cutoff: datetime | None = None
    extensions: dict[str, datetime] = field(default_factory=dict)
    grace: timedelta = timedelta()

    def due_for(self, user: str) -> datetime | None:
        return self._extended(self.due, user)

    def cutoff_for(self, user: str) -> datetime | None:
        return self._extended(self.cutoff, user)

    def late(self, user: str, when: datetime) -> int:
        """Seconds after the person's due time; 0 within the grace."""
        due = self.due_for(user)
        return int((when - due).total_seconds()) if due and when > due + self.grace else 0

    def counts(self, user: str, when: datetime) -> bool:
        """Whether a submission of this time is to be graded."""
        cutoff = self.cutoff_for(user)
        return cutoff is None or when <= cutoff + self.grace

    def ends(self) -> list[datetime]:
        """When all is in: of those without an extension, and of the last one with one."""
        last = self.cutoff or self.due
        if last is None:
            return []
        extended = [when for when in self.extensions.values() if when > last]
        return [when + self.grace for when in (last, *([max(extended)] if extended else []))]

    def _extended(self, time: datetime | None, user: str) -> datetime | None:
        extension = self.extensions.get(user)
        return max(time, extension) if time and extension else time


def times_of(settings: Settings, assignment: str) -> Times:
    """An assignment's times in the course's calendar; none if it is not there."""
    entry = settings.assignments.get(assignment, {})

    def when(text: str | None) -> datetime | None:
        return moment(text, settings.timezone) if text else None

    return Times(
        when(entry.get("due")),
        when(entry.get("cutoff")),
        {user: when(text) for user, text in entry.get("extensions", {}).items()},
        timedelta(seconds=entry.get("grace", settings.grace)),
    )


def moment(text: str, zone: str) -> datetime:
    """A time in ISO 8601, in the course's zone unless it names its own; of an hour that comes twice, the first.

    Raises:
        Refused: it is no such time.
    """
    try:
        time = datetime.fromisoformat(text)
    except (ValueError, TypeError) as error:
        raise Refused(f"{text!r} is not a time such as 2030-01-31T23:59:00+01:00") from error
    return (time if time.tzinfo else time.replace(tzinfo=ZoneInfo(zone))).astimezone(UTC)


def sealed_at(line: dict) -> datetime:
    return datetime.fromisoformat(line["sealed_at"])


def made_at(line: dict) -> datetime:
    """When a sealed submission was made, by its line of the ledger.

    That is its last change by the file system's clock (ctime, which its owner cannot set), so that neither the minute
    between two sweeps nor a hub that was down makes anybody late. Not before the last sweep that found nothing new of
    this person, and not after the seal.
    """
    changed = datetime.fromisoformat(line["changed_at"])
    if line.get("unseen_until"):
        changed = max(changed, datetime.fromisoformat(line["unseen_until"]))
    return min(changed, sealed_at(line))


def in_words(seconds: int) -> str:
    """A duration such as "1 d 02:03:04"."""
    days, rest = divmod(seconds, 86400)
    hours, minutes = divmod(rest // 60, 60)
    return (f"{days} d " if days else "") + f"{hours:02}:{minutes:02}:{rest % 60:02}"
