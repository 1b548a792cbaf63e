"""Times in which nothing is stopped: exams, and assignments of the calendar that are open or about to be due."""

from datetime import datetime, timedelta
from typing import NamedTuple

from classhub.course.settings import Settings
from classhub.course.times import Times, moment, times_of


class Window(NamedTuple):
    """One of them, with why; it may always have been."""

    words: str
    start: datetime | None
    end: datetime

    def holds(self, now: datetime) -> bool:
        return (self.start is None or self.start <= now) and now < self.end


class Windows:
    """Those of a course, by its wall clock."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.rules, zone = settings, settings.cull, settings.timezone
        self.exams = [
            (
                Window("an exam", moment(exam["from"], zone), moment(exam["to"], zone)),
                {str(section) for section in exam.get("sections", [])},
            )
            for exam in self.rules.exams
        ]
        self.times = {name: times_of(settings, name) for name in settings.assignments}

    def of(self, user: str) -> list[Window]:
        """One person's, with the extensions that the person has."""
        person = self.settings.by_name.get(user)
        section = person.section if person else ""
        found = [window for window, sections in self.exams if not sections or section in sections]
        for name, times in self.times.items():
            found += self._of_assignment(user, name, times)
        return found

    def _of_assignment(self, user: str, name: str, times: Times) -> list[Window]:
        said, found = self.rules.assignments.get(name, {}), []
        due, end = times.due_for(user), times.cutoff_for(user) or times.due_for(user)
        before = timedelta(minutes=said.get("before_due", self.rules.before_due))
        if due and before:
            found.append(Window(f"{name} is about to be due", due - before, due + times.grace))
        if end and said.get("open"):
            release = self.settings.assignments[name].get("release")
            start = moment(release, self.settings.timezone) if release else None
            found.append(Window(f"{name} is open", start, end + times.grace))
        return found

    def protection(self, user: str, now: datetime) -> str:
        """Why nothing of the person is stopped now, and until when; nothing if that is no matter."""
        held = [window for window in self.of(user) if window.holds(now)]
        if not held:
            return ""
        last = max(held, key=lambda window: window.end)
        return f"{last.words}, until {last.end.astimezone(self.settings.zone):%Y-%m-%d %H:%M}"
