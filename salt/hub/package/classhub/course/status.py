"""The verb `status`: how far each person is with an assignment."""

from argparse import Namespace

from classhub.course import exchange, feedback, gradebook, trees
from classhub.course.homes import Home
from classhub.course.release import check_known, names_in
from classhub.course.report import Report, Unfit, each
from classhub.course.settings import Person, Settings
from classhub.course.store import Store
from classhub.course.times import in_words, made_at, times_of


class Status:
    """What is known of an assignment's way.

    Attributes:
        people: username -> {has, opened, submitted, late, collected, graded, returned}
    """

    def __init__(self, settings: Settings, assignment: str) -> None:
        self.settings, self.assignment = settings, assignment
        self.times = times_of(settings, assignment)
        self.store = Store(settings.store)
        self.scores = gradebook.scores(settings, assignment)
        released = settings.course_dir / "release" / assignment
        limits = (settings.max_files, settings.max_bytes)
        self.folder = trees.load(released, *limits) if released.is_dir() else None
        self.people: dict[str, dict] = {}

    def of(self, person: Person) -> str:
        """One person's line of the table."""
        found = self.people[person.username] = (
            self._submitted(person) | self._graded(person) | {"has": False, "opened": False}
        )
        found |= self._at_home(person)
        words = ["has it" + (", opened" if found["opened"] else "") if found["has"] else ""]
        if found["submitted"]:
            late = f", late by {found['late']}" if found["late"] else ""
            words.append(f"submitted {found['submitted']}{late}")
        words.append("collected" if found["collected"] else "")
        words.append(f"graded {found['graded']}" if found["graded"] else "")
        words.append("a part is to grade by hand" if found["unfinished"] else "")
        words.append("returned" if found["returned"] else "")
        told = "; ".join(word for word in words if word)
        return f"done: {told}" if told else "skipped: does not have it"

    def _at_home(self, person: Person) -> dict:
        with Home(person, self.settings.homes) as home:
            found = home.kind(self.assignment)
            if found and found != "a directory":
                raise Unfit(f"~/{self.assignment} is {found}")
            opened = self.folder is not None and not home.has(self.folder, self.assignment)
        return {"has": bool(found), "opened": bool(found) and opened}

    def _submitted(self, person: Person) -> dict:
        lines = self.store.ledger.of(person.username, self.assignment)
        target = self.settings.course_dir / "submitted" / person.username / self.assignment
        if not lines:
            return {"submitted": "", "late": "", "collected": target.is_dir()}
        when = max(map(made_at, lines))
        late = self.times.late(person.username, when)
        shown = when.astimezone(self.settings.zone).isoformat(" ", "seconds")
        return {
            "submitted": shown,
            "late": in_words(late) if late else "",
            "collected": target.is_dir(),
        }

    def _graded(self, person: Person) -> dict:
        score = self.scores.get(person.username)
        return {
            "graded": str(score or ""),
            "unfinished": bool(score and score.unfinished),
            "returned": self._returned(person),
        }

    def _returned(self, person: Person) -> bool:
        """Whether the exchange has all pages that there are."""
        place = self.settings.course_dir / "feedback" / person.username / self.assignment
        if not place.is_dir():
            return False
        pages, secret = feedback.read_pages(place), feedback.secret_of(place)
        own = exchange.places_of(self.settings.course_id, person)[-1].path
        try:
            with trees.opened(self.settings.exchange.joinpath(*own)) as fd:
                return bool(pages) and all(
                    trees.same_file(fd, feedback.page_name(secret, name), page)
                    for name, page in pages.items()
                )
        except FileNotFoundError:
            return False


def status(settings: Settings, arguments: Namespace) -> Report:
    """How far each person is."""
    assignment = arguments.assignment
    check_known(settings, assignment)
    run = Status(settings, assignment)
    table = each(f"status {assignment}", settings.chosen(arguments.students), run.of)
    released = assignment in names_in(settings.course_exchange / "outbound")
    counts = {
        key: sum(bool(found[key]) for found in run.people.values())
        for key in ("has", "opened", "submitted", "late", "collected", "graded", "returned")
    }
    summary = {"assignment": assignment, "in_exchange": released, "counts": counts}
    return Report(table, summary | {"people": run.people})


def add_commands(subparsers) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser("status", help="tell how far each person is")
    parser.add_argument("assignment")
    parser.add_argument("--students", default="", help="these alone: a,b,c")
    parser.set_defaults(run=status)
