"""What a class says about idle servers: pillar `classhub:cull`."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple


class Limits(NamedTuple):
    """How patient the class is with one person's servers.

    Attributes:
        idle: nobody used it for so long, and nothing runs in it: it is stopped
        cap: it was busy for so long: it is stopped all the same; zero is never
        grace: it was busy within so long: it is not stopped yet
    """

    idle: timedelta
    cap: timedelta
    grace: timedelta


@dataclass(frozen=True)
class Rules:
    """The settings, as /etc/classhub/course.json has them.

    Attributes:
        idle, cap, grace: seconds; see Limits
        pressure: part of a node's memory; where servers reserve more, those that idle longest are stopped; 0 is never
        concurrency: servers that are asked, or stopped, at once
        timeout: seconds for all that one server is asked
        before_due: minutes before an assignment is due in which nothing is stopped
        roles, sections: name -> {idle, cap, grace}; a section's count before a role's
        assignments: name -> {open, before_due}
        exams: {from, to, sections}
        pins: usernames whose servers are never stopped
    """

    idle: int = 86400
    cap: int = 0
    grace: int = 3600
    pressure: float = 0.0
    concurrency: int = 10
    timeout: int = 10
    before_due: int = 0
    roles: dict[str, dict] = field(default_factory=dict)
    sections: dict[str, dict] = field(default_factory=dict)
    assignments: dict[str, dict] = field(default_factory=dict)
    exams: list[dict] = field(default_factory=list)
    pins: list[str] = field(default_factory=list)

    def limits(self, role: str = "", section: str = "") -> Limits:
        """Those of a person; of somebody who is not in the roster, the class's own."""
        own = {key: getattr(self, key) for key in Limits._fields}
        own |= self.roles.get(role, {}) | self.sections.get(section, {})
        return Limits(**{key: timedelta(seconds=seconds) for key, seconds in own.items()})
