"""One submission on its way: grafted and sanitised into a job, and, once that ran, a graded notebook again.

None of it runs a student's code, nor writes the gradebook: these are the parts that many processes do at once.
"""

import functools
import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbgrader.utils import parse_utc

from classhub.course import trees
from classhub.course.ledger import private
from classhub.course.report import Refused, Unfit
from classhub.course.sealing import SECRET, TIMESTAMP
from classhub.course.settings import Settings
from classhub.grading import outcome, salvage
from classhub.grading.canaries import Canary, with_canaries
from classhub.grading.gradebook import ClassGradebook
from classhub.grading.graft import Skeleton, assemble, language

FIRST_UID = 1_900_000_000  # of submissions: nobody's, and each slot's own


@dataclass
class Prepared:
    """What is known of a submission before it is executed.

    Attributes:
        digest: of what was submitted
        submitted: when that was
        repairs: notebook -> what was repaired
        missing: notebook -> why there is none to execute
        canaries: notebook -> its canaries
    """

    digest: str
    submitted: datetime | None
    repairs: dict[str, list[str]] = field(default_factory=dict)
    missing: dict[str, list[str]] = field(default_factory=dict)
    canaries: dict[str, list[Canary]] = field(default_factory=dict)


class Bench:
    """Where submissions of one assignment are prepared and settled, in whatever process.

    Args:
        settings: of the course
        assignment: its name
        names: of its notebooks
        run: directory in the spool, for root alone but for the parts that nodes mount

    Raises:
        Refused: the release version is not there.
    """

    def __init__(self, settings: Settings, assignment: str, names: list[str], run: Path) -> None:
        self.settings, self.assignment, self.run = settings, assignment, run
        released = settings.course_dir / "release" / assignment
        try:
            self.skeletons = {
                f"{name}.ipynb": Skeleton((released / f"{name}.ipynb").read_bytes())
                for name in names
            }
        except (OSError, ValueError) as error:
            raise Refused(
                f"{assignment} has no usable release version; make it anew (classhub.release {assignment}): {error}"
            ) from error

    @functools.cached_property
    def gradebook(self) -> ClassGradebook:
        """A gradebook to read from, which each process opens by itself."""
        return ClassGradebook(self.settings, self.assignment)

    def own(self, user: str) -> Path:
        """The submission's directory here, for root alone."""
        return self.run / "own" / user

    # -- before

    def prepare(self, user: str) -> Prepared:
        """Make a submission's job, and the files that its code may read.

        Raises:
            Unfit: it cannot be.
        """
        own = self.own(user)
        shutil.rmtree(own, ignore_errors=True)  # of a process that ended in the middle
        taken = own / "submitted"
        taken.mkdir(mode=0o700, parents=True)
        place = self.settings.course_dir / "submitted" / user / self.assignment
        with trees.opened(place) as fd:  # it is the same one, should a newer one be collected now
            here = Path(f"/proc/self/fd/{fd}")
            copy_files(here, plain_files(here), taken)
        found = Prepared(digest(taken), timestamp(taken))
        size = self._lay_files(own)
        if size > self.settings.grading.disk // 2:
            raise Unfit(
                f"its files are {size >> 20} MiB; there is room for half of grading:disk, "
                f"{self.settings.grading.disk >> 21} MiB"
            )
        books = self._sanitised(user, found)
        (own / "job").write_bytes(json.dumps(self._job(books, found)).encode())
        return found

    def _lay_files(self, own: Path) -> int:
        """Lay out what is beside the notebooks: for the code to read, and to be kept; the bytes of it.

        What came with the assignment stands in place of what was submitted: nbgrader/converters/autograde.py:
        init_assignment. Of the source, which has the solutions, no notebook.
        """
        paths = list(plain_files(own / "submitted"))
        source = self.settings.course_dir / "source" / self.assignment
        given = [path for path in plain_files(source) if not is_notebook(path)]
        sizes = []
        for name, taken in (
            ("files", [path for path in paths if path != SECRET]),
            ("autograded", [path for path in paths if not is_notebook(path)]),
        ):
            target = own / name
            target.mkdir(mode=0o755)
            sizes.append(
                copy_files(own / "submitted", taken, target, os.link)
                + copy_files(source, given, target)
            )
        return sizes[0]

    def _sanitised(self, user: str, found: Prepared) -> dict[str, NotebookNode]:
        """The notebooks to execute, by name, also written for when they are settled."""
        books = {}
        for name, grafted in assemble(
            notebooks(self.own(user) / "submitted"), self.skeletons
        ).items():
            if not grafted.data:
                found.missing[name] = grafted.repairs
                continue
            if grafted.repairs:
                found.repairs[name] = grafted.repairs
            book = nbformat.reads(grafted.data.decode(), as_version=4)
            books[name] = self.gradebook.sanitise(user, name.removesuffix(".ipynb"), book)
            (self.own(user) / name).write_text(nbformat.writes(books[name]), encoding="utf-8")
        return books

    def _job(self, books: dict[str, NotebookNode], found: Prepared) -> dict:
        """What the runner is to do: runner.py."""
        limits = self.settings.grading
        executed, echoes = {}, {}
        for name, book in books.items():
            cells, canaries = list(book.cells), []
            if is_python(self.skeletons[name].metadata):
                cells, canaries = with_canaries(cells)
            executed[name], found.canaries[name] = {**book, "cells": cells}, canaries
            echoes[name] = len(cells) - sum(canary.echo for canary in canaries)
        return {
            "timeout": limits.cell_seconds,
            "seconds": limits.seconds,
            "output": limits.output,
            "notebooks": executed,
            "echoes": echoes,
            "secret": secrets.token_hex(16),  # no code that runs can make up the digest of the job
        }

    def lay(self, user: str, slot: Path, number: int) -> str:
        """Lay a job out for the container of a slot, which can write two files of it, and make none; returns ""."""
        uid = FIRST_UID + number
        slot.mkdir(mode=0o711)
        shutil.copytree(self.own(user) / "files", slot / "files", copy_function=os.link)
        for name, data in (("job", (self.own(user) / "job").read_bytes()), ("result", b"")):
            with open(slot / name, "xb", opener=private) as file:
                file.write(data)
            os.chown(slot / name, uid, uid)
        (slot / "nss").mkdir(mode=0o755)
        (slot / "nss" / "passwd").write_text(f"submission:x:{uid}:{uid}::/tmp:/bin/bash\n")
        (slot / "nss" / "group").write_text(f"submission:x:{uid}:\n")
        return ""

    # -- after

    def settle(
        self, user: str, found: Prepared, result: Path | None, words: str
    ) -> tuple[dict[str, NotebookNode], dict[str, list[str]]]:
        """The executed notebooks by name, and what is to be told of each.

        Args:
            result: where the runner's is; nothing where none is to be had
            words: why, then
        """
        job = (self.own(user) / "job").read_bytes()
        most = self.settings.grading.output * max(1, len(found.canaries))
        books, notes = {}, {}
        try:
            results = outcome.read(result, job, most) if result else {}
        except Unfit as error:
            results, words = {}, f"{error} ({words})"
        for name in found.canaries:
            book = nbformat.read(self.own(user) / name, as_version=4)
            try:
                if name not in results:
                    raise Unfit(words)
                books[name], notes[name] = outcome.settle(book, found.canaries[name], results[name])
            except Unfit as error:
                book = nbformat.read(self.own(user) / name, as_version=4)
                books[name], notes[name] = _unexecuted(book, str(error))
        return books, notes

    def write(
        self,
        user: str,
        books: dict[str, NotebookNode],
        notes: dict[str, list[str]],
        target: Path,
    ) -> None:
        """Write what is kept of a graded submission: the notebooks, and what is beside them."""
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(mode=0o700)
        kept = self.own(user) / "autograded"
        copy_files(kept, plain_files(kept), target)
        for name, book in books.items():
            if notes.get(name):
                book.cells.insert(0, note(notes[name]))
            (target / name).write_text(nbformat.writes(book), encoding="utf-8")


def plain_files(place: Path) -> Iterator[str]:
    """Paths of the files below a directory, from there, but for what nbgrader ignores, links and special files."""
    for folder, folders, names in os.walk(place):
        here = Path(folder)
        folders[:] = sorted(
            name
            for name in folders
            if not trees.is_ignored(name) and not (here / name).is_symlink()
        )
        for name in sorted(names):
            if not trees.is_ignored(name) and stat.S_ISREG((here / name).lstat().st_mode):
                yield str((here / name).relative_to(place))


def is_notebook(path: str) -> bool:
    return path.lower().endswith(".ipynb")


def notebooks(place: Path) -> dict[str, bytes]:
    """The notebooks below a directory, by path; of one that is too large, enough to tell."""
    found = {}
    for path in filter(is_notebook, plain_files(place)):
        with open(place / path, "rb") as file:
            found[path] = file.read(salvage.LARGEST + 1)
    return found


def copy_files(
    source: Path, paths: Iterable[str], target: Path, copy: Callable = shutil.copyfile
) -> int:
    """Copy files to below another directory, in place of what is in their way; their bytes."""
    size = 0
    for path in paths:
        clear(target, path)
        (target / path).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        copy(source / path, target / path)
        found = (source / path).stat()
        (target / path).chmod(0o755 if found.st_mode & stat.S_IXUSR else 0o644)
        size += found.st_size
    return size


def clear(target: Path, path: str) -> None:
    """Remove what is in a file's way: files where its directories are to be, and what has its name."""
    for parent in list(Path(path).parents)[-2::-1]:
        if (target / parent).is_file():
            (target / parent).unlink()
    if (target / path).is_dir():
        shutil.rmtree(target / path)
    else:
        (target / path).unlink(missing_ok=True)


def digest(place: Path) -> str:
    """What a submission is known by: a sha256 of its files."""
    found = hashlib.sha256()
    for path in plain_files(place):
        with open(place / path, "rb") as file:
            found.update(f"{path}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return found.hexdigest()


def is_python(metadata: dict) -> bool:
    """Whether a notebook is in Python, as one is that does not say."""
    spec = metadata.get("kernelspec")
    name = spec.get("name", "") if isinstance(spec, dict) else ""
    return (language(metadata) or str(name)[:6] or "python") == "python"


def timestamp(place: Path) -> datetime | None:
    """When it was submitted, as `collect` wrote it down, in UTC."""
    try:
        text = (place / TIMESTAMP).read_text(encoding="utf-8").strip()
        return parse_utc(text).replace(tzinfo=UTC)
    except (OSError, ValueError):
        return None


def _unexecuted(book: NotebookNode, words: str) -> tuple[NotebookNode, list[str]]:
    """A notebook of which no result is to be had: nothing of it counts."""
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.outputs = [outcome.error_output("GradingError", words)]
    return book, [words]


def note(words: list[str]) -> NotebookNode:
    """A cell that tells the grader what was repaired, and how the execution went."""
    lines = "\n".join(f"- `{line.replace('`', ' ')}`" for line in words)
    return nbformat.v4.new_markdown_cell(f"**Graded by classhub, which noted:**\n\n{lines}")
