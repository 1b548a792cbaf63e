"""Assignments from a directory or a real git repository: whole, as they are there, and nothing of the course's lost."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.support.submissions import contents, course, environment, killed_at  # isort: skip

from classhub.course import source
from classhub.course.report import Refused

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("git"), reason="needs root and git"
)

PS1 = {"problem1.ipynb": b"one", "data/deep/table.csv": b"1,2\n", "run.sh": b"#!/bin/sh\n"}
TAKEN = "done: taken at "
SAME = "skipped: is the same"


class Upstream:
    """A git repository with the assignments of a course, and work tree to change it in."""

    def __init__(self, path) -> None:
        self.path = path
        path.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")
        self.write(PS1)
        self.write({"problem1.ipynb": b"other"}, "ps2")
        self.commit()

    @property
    def url(self) -> str:
        return f"file://{self.path}"

    def git(self, *words: str) -> str:
        identity = ("-c", "user.name=Pat", "-c", "user.email=pat@class.test")
        command = ["git", "-C", self.path, *identity, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def write(self, files: dict[str, bytes], assignment: str = "ps1", top: str = "source") -> None:
        for name, data in files.items():
            path = self.path / top / assignment / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            path.chmod(0o755 if name.endswith(".sh") else 0o644)

    def commit(self, *options: str) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message=work", *options)
        return self.git("rev-parse", "HEAD")


class Lesson:
    """A course that takes its assignments from somewhere."""

    def __init__(self, made, **settings: str) -> None:
        self.made = made
        self.settings = dataclasses.replace(
            made.settings,
            mirror=made.top / "disk" / "source.git",
            deploy_key=made.top / "no-key",
            **settings,
        )
        self.source = self.settings.course_dir / "source"
        (self.source / "ps1").rmdir()

    def fetch(self, test: bool = False) -> dict[str, str]:
        return source.fetch_source(self.settings, Arguments(test)).table

    def having(self, **settings: object) -> "Lesson":
        self.settings = dataclasses.replace(self.settings, **settings)
        return self

    def kept(self) -> list[str]:
        previous = self.source / ".previous"
        return sorted(path.name for path in previous.iterdir()) if previous.exists() else []

    def everything(self) -> dict[str, bytes]:
        return contents(self.made.top)


@dataclasses.dataclass
class Arguments:
    test: bool = False


@pytest.fixture
def upstream(tmp_path):
    return Upstream(tmp_path / "upstream")


@pytest.fixture
def lesson(upstream):
    with course() as made:
        yield Lesson(made, source_git=upstream.url)


# -- what is taken


def test_assignments_are_as_in_the_repository(lesson, upstream):
    commit = upstream.git("rev-parse", "HEAD")
    assert lesson.fetch() == dict.fromkeys(["ps1", "ps2"], TAKEN + commit[:12])
    assert contents(lesson.source / "ps1") == PS1
    assert os.access(lesson.source / "ps1" / "run.sh", os.X_OK)
    assert not (lesson.source / "ps1" / "problem1.ipynb").stat().st_mode & 0o111
    assert not (lesson.source / "ps1" / ".git").exists()
    assert list((lesson.source / ".staging").iterdir()) == []
    assert lesson.settings.mirror.stat().st_mode & 0o777 == 0o700  # it has the solutions


def test_again_changes_nothing(lesson):
    lesson.fetch()
    before = contents(lesson.source)
    assert set(lesson.fetch().values()) == {SAME}
    assert contents(lesson.source) == before


def test_test_predicts_and_changes_nothing(lesson, upstream):
    before = lesson.everything()
    assert lesson.fetch(test=True)["ps1"].startswith("done: would be taken at ")
    assert lesson.everything() == before
    lesson.fetch()
    upstream.write({"problem1.ipynb": b"two"})
    commit = upstream.commit()
    before = lesson.everything()
    told = lesson.fetch(test=True)
    assert told == {"ps1": f"done: would be taken at {commit[:12]}", "ps2": SAME}
    assert lesson.everything() == before


def test_what_is_new_is_taken_and_what_is_gone_stays(lesson, upstream):
    lesson.fetch()
    shutil.rmtree(upstream.path / "source" / "ps2")
    upstream.write({"problem1.ipynb": b"two"})
    commit = upstream.commit()
    assert lesson.fetch() == {"ps1": TAKEN + commit[:12]}
    assert (lesson.source / "ps1" / "problem1.ipynb").read_bytes() == b"two"
    assert (lesson.source / "ps2" / "problem1.ipynb").read_bytes() == b"other"
    assert lesson.kept() == []


def test_what_was_changed_in_the_course_is_kept(lesson, upstream):
    lesson.fetch()
    (lesson.source / "ps1" / "problem1.ipynb").write_bytes(b"mine")
    upstream.write({"problem1.ipynb": b"two"})
    upstream.commit()
    told = lesson.fetch()["ps1"]
    (name,) = lesson.kept()
    assert told.endswith(f", what was there is in source/.previous/{name}")
    assert contents(lesson.source / ".previous" / name) == PS1 | {"problem1.ipynb": b"mine"}
    assert (lesson.source / "ps1" / "problem1.ipynb").read_bytes() == b"two"


@pytest.mark.parametrize(
    "kind", ["never fetched", "a link", "a file", "with a link", "a lost list"]
)
def test_whatever_a_fetch_did_not_leave_is_kept(lesson, kind, tmp_path):
    place = lesson.source / "ps1"
    if kind == "a link":
        place.symlink_to(tmp_path)
    elif kind == "a file":
        place.write_text("mine")
    elif kind == "a lost list":
        lesson.fetch()
        (lesson.source / ".fetched.json").write_text("{")
        (place / "problem1.ipynb").write_text("old")
    else:
        place.mkdir()
        (place / "mine").write_text("mine")
    if kind == "with a link":
        (place / "link").symlink_to("/etc/passwd")
    before = sorted(tmp_path.rglob("*"))
    assert "source/.previous/ps1-" in lesson.fetch()["ps1"]
    assert contents(place) == PS1
    assert len(lesson.kept()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_branch_that_was_pushed_anew_by_force(lesson, upstream):
    lesson.fetch()
    upstream.write({"problem1.ipynb": b"another story"})
    commit = upstream.commit("--amend")
    upstream.git("reflog", "expire", "--expire=now", "--all")
    upstream.git("gc", "--quiet", "--prune=now")
    assert lesson.fetch()["ps1"] == TAKEN + commit[:12]
    assert (lesson.source / "ps1" / "problem1.ipynb").read_bytes() == b"another story"
    assert lesson.kept() == []


def test_branch_tag_and_commit(lesson, upstream):
    first = upstream.git("rev-parse", "HEAD")
    upstream.git("tag", "--annotate", "--message=x", "v1")
    upstream.git("checkout", "--quiet", "-b", "feature/new")
    upstream.write({"problem1.ipynb": b"new"})
    second = upstream.commit()
    assert lesson.having(source_ref="v1").fetch()["ps1"] == TAKEN + first[:12]
    assert lesson.having(source_ref="feature/new").fetch()["ps1"] == TAKEN + second[:12]
    assert lesson.having(source_ref=first[:10]).fetch()["ps1"] == TAKEN + first[:12]


def test_assignments_at_the_top_and_further_below(lesson, upstream):
    upstream.write({"problem1.ipynb": b"below"}, "ps5", "course/2030/homework")
    upstream.commit()
    assert list(lesson.having(source_subdir="course/2030/homework").fetch()) == ["ps5"]
    assert set(lesson.having(source_subdir="").fetch()) == {"course", "source"}


def test_a_directory_of_the_hub(lesson, upstream):
    lesson.having(source_git="", source_directory=str(upstream.path / "source"))
    assert lesson.fetch()["ps1"] == f"done: taken from {upstream.path}/source"
    assert contents(lesson.source / "ps1") == PS1
    assert set(lesson.fetch().values()) == {SAME}
    assert not lesson.settings.mirror.exists()


# -- what is not


def odd_link(at):
    (at / "link").symlink_to("/etc/passwd")
    return "ps1: link is a symbolic link"


def odd_deep_link(at):
    (at / "data" / "link").symlink_to("../../../..")
    return "ps1: data/link is a symbolic link"


def odd_assignment_link(at):
    shutil.rmtree(at)
    at.symlink_to("ps2")
    return "ps1: ps1 is a symbolic link"


def odd_empty(at):
    shutil.rmtree(at)
    (at / "__pycache__").mkdir(parents=True)
    (at / "__pycache__" / "x.pyc").write_text("")
    return "ps1: it is empty"


def odd_name(at):
    at.rename(at.with_name("ps+1"))
    return "ps+1: 'ps+1' cannot be the name of an assignment"


def odd_deep(at):
    (at / "/".join("d" * 40)).mkdir(parents=True)
    (at / "/".join("d" * 40) / "file").write_text("")
    return "ps1: d/"


def odd_large(at):
    (at / "large").write_bytes(b"x" * 5000)
    return "ps1: it has more than"


@pytest.mark.parametrize(
    "odd", [value for name, value in list(globals().items()) if name[:4] == "odd_"]
)
def test_one_odd_assignment_does_not_stop_the_others(lesson, upstream, odd):
    lesson.having(max_bytes=4000)
    name, _, why = odd(upstream.path / "source" / "ps1").partition(": ")
    upstream.commit()
    table = lesson.fetch()
    assert table[name].startswith(f"failed: {why}"), table
    assert table["ps2"].startswith(TAKEN)
    assert not os.path.lexists(lesson.source / "ps1")


@pytest.mark.parametrize("odd", [odd_link, odd_deep_link, odd_assignment_link, odd_deep, odd_large])
def test_nor_does_it_in_a_directory(lesson, upstream, odd):
    lesson.having(source_git="", source_directory=str(upstream.path / "source"), max_bytes=4000)
    odd(upstream.path / "source" / "ps1")
    table = lesson.fetch()
    assert table["ps1"].startswith("failed: ")
    assert "unexpected" not in table["ps1"]
    assert table["ps2"].startswith("done: ")


def test_a_submodule_is_not_followed(lesson, upstream, tmp_path):
    other = Upstream(tmp_path / "other")
    upstream.git(
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "--quiet",
        "add",
        other.url,
        "source/ps1/lib",
    )
    upstream.commit()
    assert lesson.fetch()["ps1"].startswith("failed: lib is another repository")


def test_a_tree_that_no_git_would_make(lesson, upstream):
    """A name that leads out of the assignment, written by hand."""
    blob = upstream.git("hash-object", "-w", "source/ps1/run.sh")
    entry = b"100644 ..\0" + bytes.fromhex(blob)
    command = [
        "git",
        "-C",
        upstream.path,
        "hash-object",
        "-t",
        "tree",
        "-w",
        "--literally",
        "--stdin",
    ]
    evil = (
        subprocess.run(command, input=entry, capture_output=True, check=True)
        .stdout.decode()
        .strip()
    )
    for name in ("ps1", "source"):
        evil = subprocess.run(
            ["git", "-C", upstream.path, "mktree"],
            input=f"040000 tree {evil}\t{name}\n", text=True, capture_output=True, check=True,
        ).stdout.strip()  # fmt: skip
    commit = upstream.git("commit-tree", "-m", "evil", evil)
    upstream.git("update-ref", "refs/heads/main", commit)
    assert lesson.fetch()["ps1"] == "failed: '..' cannot be a name"


def test_nothing_of_the_repository_runs(lesson, upstream, tmp_path):
    """Neither hooks nor filters, of which a checkout would run the second."""
    upstream.write({".gitattributes": b"* filter=evil export-subst\n"}, "ps1")
    upstream.write({"problem1.ipynb": b"$Format:%H$"})
    upstream.commit()
    lesson.fetch()
    hook = lesson.settings.mirror / "hooks" / "reference-transaction"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    upstream.write({"more": b""})
    upstream.commit()
    lesson.fetch()
    assert not (tmp_path / "ran").exists()
    assert (lesson.source / "ps1" / "problem1.ipynb").read_bytes() == b"$Format:%H$"


REFUSALS = [
    (
        {"source_git": "file:///nowhere/at/all"},
        "file:///nowhere/at/all cannot be read; the course keeps",
    ),
    ({"source_git": "ext::sh -c touch% /tmp/evil"}, "cannot be read; the course keeps"),
    ({"source_ref": "nope"}, "has no branch, tag or commit nope"),
    ({"source_ref": "--output=/tmp/evil"}, "has no branch, tag or commit --output"),
    ({"source_subdir": "nope"}, "there is no directory nope in"),
    ({"source_subdir": "source/ps1/data/deep"}, "there is no assignment in"),
    ({"source_git": ""}, "there is no place to fetch from: set classhub:course:source"),
    ({"source_git": "", "source_directory": "/nowhere"}, "/nowhere cannot be read: No such file"),
]


@pytest.mark.parametrize(("settings", "told"), REFUSALS)
@pytest.mark.parametrize("test", [False, True])
def test_refusals_are_one_sentence_and_the_course_keeps_what_it_has(lesson, settings, told, test):
    lesson.fetch()
    before = contents(lesson.source)
    with pytest.raises(Refused) as refused:
        lesson.having(**settings).fetch(test)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)
    assert contents(lesson.source) == before


def test_only_one_run_at_a_time(lesson):
    with (
        source.Source(lesson.settings, False).locked(),
        pytest.raises(Refused, match="another run"),
    ):
        lesson.fetch()


# -- killed


def test_killed_at_each_step_nothing_is_lost_and_the_next_run_completes_it(lesson, upstream):
    lesson.fetch()
    for step in range(400):
        mine = f"mine, of step {step}".encode()
        (lesson.source / "ps1" / "problem1.ipynb").write_bytes(mine)
        upstream.write({"problem1.ipynb": b"theirs, of step %d" % step}, "ps1")
        upstream.write({"problem1.ipynb": b"theirs, too, of step %d" % step}, "ps2")
        upstream.commit()
        died = killed_at(step, lesson.fetch)
        for name in ("ps1", "ps2"):
            assert contents(lesson.source / name), "an assignment was away"
        lesson.fetch()
        everything = contents(lesson.source)
        assert mine in everything.values()
        assert everything["ps1/problem1.ipynb"] == b"theirs, of step %d" % step
        assert everything["ps2/problem1.ipynb"] == b"theirs, too, of step %d" % step
        assert list((lesson.source / ".staging").iterdir()) == []
        shutil.rmtree(lesson.source / ".previous")
        if not died:
            break
    assert not died
    assert step > 20


def test_locks_that_a_killed_git_left_do_not_stop_the_next(lesson, upstream):
    lesson.fetch()
    for name in ("refs/heads/main.lock", "packed-refs.lock", "config.lock"):
        (lesson.settings.mirror / name).touch()
    upstream.write({"problem1.ipynb": b"two"})
    assert lesson.having(source_ref="main").fetch()["ps1"] == SAME
    upstream.commit()
    assert lesson.fetch()["ps1"].startswith(TAKEN)


# -- the command line, and releasing


@pytest.fixture
def command(lesson):
    """Runs a verb of the course's command line; returns its exit code and answer."""
    data = json.loads((lesson.made.top / lesson.made.config()).read_text())
    own = {
        name: str(getattr(lesson.settings, name)) for name in ("mirror", "deploy_key", "source_git")
    }
    path = lesson.made.top / "course.json"
    path.write_text(json.dumps(data | own))

    def run(*words: str) -> tuple[int, dict]:
        call = [sys.executable, "-m", "classhub.course", "--config", path, *words]
        done = subprocess.run(call, capture_output=True, text=True, env=environment(), check=False)
        return done.returncode, json.loads(done.stdout)

    return run


def test_the_verb(command, lesson, upstream):
    code, report = command("fetch-source", "--test")
    assert (code, report["summary"]["done"]) == (0, 2)
    assert not (lesson.source / "ps1").exists()
    odd_link(upstream.path / "source" / "ps1")
    upstream.commit()
    code, report = command("fetch-source")
    assert (code, report["summary"]["done"], report["summary"]["failed"]) == (1, 1, 1)
    assert report["summary"]["place"] == f"{upstream.url} at main"


def test_release_takes_its_assignment_first(command, lesson, upstream):
    code, report = command("release", "ps1", "--generate", "--test")
    assert code == 0, report
    assert report["summary"]["source"].startswith("done: would be taken at ")
    assert not (lesson.source / "ps1").exists()
    assert report["table"]["ada"] == "done: would be given"


def test_release_refuses_what_cannot_be_taken(command, lesson, upstream):
    assert "there is no assignment ps9" in command("release", "ps9", "--generate")[1]["error"]
    odd_link(upstream.path / "source" / "ps1")
    upstream.commit()
    code, report = command("release", "ps1", "--generate")
    assert code == 2
    assert report["error"].startswith(
        f"ps1 cannot be taken from {upstream.url} at main: link is a symbolic"
    )
    shutil.rmtree(upstream.path)
    assert "cannot be read" in command("release", "ps1", "--generate")[1]["error"]
