"""nbgrader's pages and their API, as they may be used on the hub.

Every handler of nbgrader's is served by a class that asks who it is, knows the roster, closes the gradebook after
each request, and tells the browser which scripts may run. A few are replaced.
"""

import base64
import hashlib
import html
import re
from pathlib import Path
from typing import NamedTuple

import nbformat
from jinja2 import Environment, FileSystemLoader
from nbgrader.server_extensions.formgrader import apihandlers, handlers
from tornado import web

from classhub.course.report import Refused
from classhub.course.settings import load

STAFF = ("grader", "instructor")
NAME = re.compile(r"\w[\w .+-]{0,127}")
STATIC = "formgrader/static/"
SCRIPT = Path(__file__).with_name("refusals.js")
INLINE = re.compile(r"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", re.DOTALL | re.IGNORECASE)
ON_CLICK = re.compile(r'\sonclick="([^"]*)"', re.IGNORECASE)
# a file of a student is no page of the class: it may neither run nor see anything
FILE_POLICY = "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'"


class Refusal(NamedTuple):
    """A button of nbgrader's that is not for the hub, and what is said instead."""

    does: str
    say: str


REFUSALS = {
    apihandlers.AssignHandler: Refusal("Generating", "classhub.release {0}"),
    apihandlers.ReleaseHandler: Refusal("Releasing", "classhub.release {0}"),
    apihandlers.UnReleaseHandler: Refusal("Taking back a release", ""),
    apihandlers.CollectHandler: Refusal("Collecting", "classhub.collect {0}"),
    apihandlers.AutogradeHandler: Refusal("Autograding", "classhub.autograde {0} students={1}"),
    apihandlers.GenerateAllFeedbackHandler: Refusal("Feedback", "classhub.feedback {0}"),
    apihandlers.GenerateFeedbackHandler: Refusal("Feedback", "classhub.feedback {0} students={1}"),
    apihandlers.ReleaseAllFeedbackHandler: Refusal("Returning", "classhub.return_ {0}"),
    apihandlers.ReleaseFeedbackHandler: Refusal("Returning", "classhub.return_ {0} students={1}"),
}


def policy(page: str, static: str) -> str:
    """A Content-Security-Policy under which the scripts of a page run, and no others.

    Args:
        page: HTML that is nbgrader's alone; its inline scripts and handlers are allowed by their hashes.
        static: where nbgrader's script files are, as host and path.
    """
    codes = dict.fromkeys(INLINE.findall(page) + ON_CLICK.findall(page))
    digests = (hashlib.sha256(code.encode()).digest() for code in codes)
    hashes = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {static} 'unsafe-hashes' {hashes}; connect-src 'self'; "
        "img-src 'self' data:; style-src 'self' 'unsafe-inline'; font-src 'self'; form-action 'none'; "
        "base-uri 'none'; frame-ancestors 'none'"
    )


def environment() -> Environment:
    """nbgrader's templates; unlike there, a name in an address is text and not HTML."""
    return Environment(loader=FileSystemLoader(handlers.template_path), autoescape=True)


class Guarded:
    """What every page and call of nbgrader's gets on top, by being mixed in before it."""

    _gradebook = None

    async def prepare(self) -> None:
        """Let in staff of the roster alone: the hub is asked first, then the course."""
        await super().prepare()
        if self._finished:
            return
        if not self.is_staff():
            raise web.HTTPError(403)
        if not all(NAME.fullmatch(name) for name in self.names()):
            raise web.HTTPError(404)

    def is_staff(self) -> bool:
        try:
            people = load(self.settings["course_config"]).by_name
        except Refused as error:
            self.log.error("%s", error)
            raise web.HTTPError(500) from error
        person = people.get(self.current_user.username)
        return person is not None and person.role in STAFF

    def names(self) -> list[str]:
        """What stands in the address for an assignment, a notebook, a student or an id; it becomes part of a path."""
        return [*self.path_args, *self.path_kwargs.values()]

    @property
    def gradebook(self):
        """A gradebook for this request alone: grades that a verb wrote meanwhile are seen."""
        if self._gradebook is None:
            self._gradebook = handlers.BaseHandler.gradebook.fget(self)
            self.settings["nbgrader_gradebook"] = None
        return self._gradebook

    def on_finish(self) -> None:
        if self._gradebook is not None:
            self._gradebook.close()
        super().on_finish()

    @property
    def static(self) -> str:
        return f"{self.request.host}{self.base_url}/{STATIC}"

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Content-Security-Policy", FILE_POLICY)

    def render(self, name: str, **values: object) -> str:
        # the exchange is not nbgrader's to use here: no warning that there is none
        page = super().render(name, **values | {"exchange_missing": False})
        self.set_header("Content-Security-Policy", policy(page, self.static))
        return self.with_script(page)

    def with_script(self, page: str) -> str:
        script = f'<script src="{self.base_url}/{STATIC}classhub/{SCRIPT.name}"></script>'
        return page.replace("</body>", f"{script}</body>")

    def write_error(self, status_code: int, **kwargs: object) -> None:
        if status_code in (403, 500, 502):
            super().write_error(status_code, **kwargs)
        else:
            self.finish(f"{status_code}: {self._reason}")


class RefusedHandler(Guarded, apihandlers.BaseApiHandler):
    """A button that says what to say instead."""

    def initialize(self, refusal: Refusal) -> None:
        self.refusal = refusal

    @web.authenticated
    def post(self, *names: str) -> None:
        verb = self.refusal.say.format(*names)
        told = f"{self.refusal.does} is not done here: have the operator say `salt hub {verb}`."
        if not verb:
            told = f"{self.refusal.does} is not done: students have their copies already."
        self.set_status(403)
        self.finish({"message": told})


class HomeHandler(Guarded, handlers.BaseHandler):
    """The first page. nbgrader's own would run the configuration in any directory that a link names."""

    @web.authenticated
    def get(self) -> None:
        self.redirect(f"{self.base_url}/formgrader/manage_assignments")


class SubmissionHandler(Guarded, handlers.SubmissionHandler):
    """The page on which a submission is graded."""

    @property
    def exporter(self) -> "SubmissionHandler":
        return self

    def from_filename(self, filename: str, resources: dict) -> tuple[str, dict]:
        """The page; what may run on it are the scripts of the same page without the student's notebook."""
        exporter = super().exporter
        texts = {key: html.escape(value) for key, value in resources.items() if type(value) is str}
        blank, _ = exporter.from_notebook_node(nbformat.v4.new_notebook(), resources | texts)
        self.set_header("Content-Security-Policy", policy(blank, self.static))
        page, found = exporter.from_filename(filename, resources | texts)
        return self.with_script(page), found


class SubmissionFilesHandler(Guarded, handlers.SubmissionFilesHandler):
    """Files of a submission, such as pictures that its notebook shows."""

    def names(self) -> list[str]:
        submission, _, path = super().names()[0].partition("/")
        if not {"", ".", ".."}.isdisjoint(path.split("/")):
            raise web.HTTPError(404)
        return [submission]


REPLACED = {
    handlers.FormgraderHandler: HomeHandler,
    handlers.SubmissionHandler: SubmissionHandler,
    handlers.SubmissionFilesHandler: SubmissionFilesHandler,
}


def guarded(handler: type) -> type:
    return type(handler.__name__, (Guarded, handler), {})


def served(pattern: str, handler: type, *options: dict) -> tuple:
    """A handler of nbgrader's as it is served here: refused, replaced or guarded."""
    if handler in REFUSALS:
        return pattern, RefusedHandler, {"refusal": REFUSALS[handler]}
    if handler is web.StaticFileHandler:
        return pattern, handler, *options  # nbgrader's own scripts and fonts
    return pattern, REPLACED.get(handler) or guarded(handler), *options


def routes() -> list[tuple]:
    """All that is served, below the address of the service."""
    scripts = {"path": SCRIPT.parent}
    return [
        (r"/?", HomeHandler),
        (rf"/{STATIC}classhub/({re.escape(SCRIPT.name)})", web.StaticFileHandler, scripts),
        (rf"/{STATIC}(.*)", web.StaticFileHandler, {"path": handlers.static_path}),
        *(served(*route) for route in handlers.default_handlers + apihandlers.default_handlers),
        (r"/.*", guarded(handlers.Template404)),
    ]
