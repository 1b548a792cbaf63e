"""What a student can lay into an inbound directory to get at more than is theirs, or to stop the class."""

import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.support.submissions import Course


def swap_owner(lesson, place):
    os.chown(place / "problem1.ipynb", lesson.uid("ben"), lesson.uid("ben"))


def swap_top_owner(lesson, place):
    os.chown(place, lesson.uid("ben"), lesson.uid("ben"))


def solution(lesson):
    """The instructor's version, which no student may see."""
    secret = lesson.settings.course_dir / "source" / "ps1" / "problem1.ipynb"
    secret.write_text("THE SOLUTION")
    return secret


def link_to_instructor(lesson, place):
    (place / "problem1.ipynb").unlink()
    (place / "problem1.ipynb").symlink_to(solution(lesson))


def link_to_directory(lesson, place):
    (place / "more").symlink_to(solution(lesson).parent)


def link_as_submission(lesson, place):
    place.rename(place.parent.parent / "elsewhere")
    place.symlink_to(place.parent.parent / "elsewhere")


def hard_link(lesson, place):
    os.link(place / "problem1.ipynb", lesson.inbound("ben").parent / "mine")


def fifo(lesson, place):
    os.mkfifo(place / "pipe")


def socket_file(lesson, place):
    here = os.getcwd()
    os.chdir(place)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("socket")
    os.chdir(here)


def device(lesson, place):
    os.mknod(place / "null", 0o020666, os.makedev(1, 3))


def setuid(lesson, place):
    os.chmod(place / "problem1.ipynb", 0o4755)


def control_characters(lesson, place):
    (place / "a\x1b[2Jb").write_text("")


def not_utf8(lesson, place):
    (place / os.fsdecode(b"\xff\xfe")).write_text("")


def other_direction(lesson, place):
    (place / "\u202egpj.exe").write_text("")


def huge_sparse_file(lesson, place):
    with open(place / "big", "wb") as file:
        file.truncate(1 << 40)


def many_files(lesson, place, count=0):
    (place / "many").mkdir()
    for number in range(count or lesson.settings.max_files + 1):
        os.close(os.open(f"{place}/many/{number}", os.O_CREAT | os.O_WRONLY))


def deep(lesson, place):
    here = os.getcwd()
    os.chdir(place)
    for _ in range(600):
        os.mkdir("d")
        os.chdir("d")
    os.chdir(here)


def long_path(lesson, place):
    place.joinpath(*["x" * 200] * 6).mkdir(parents=True)


def file_for_directory(lesson, place):
    subprocess.run(["rm", "-r", str(place)], check=True)
    place.write_text("x")


# What the report says of each.
REASONS = {
    swap_owner: "belongs to uid",
    swap_top_owner: "belongs to uid",
    link_to_instructor: "problem1.ipynb: is a symbolic link",
    link_to_directory: "more: is a symbolic link",
    link_as_submission: "is no directory",
    hard_link: "hard links",
    fifo: "pipe: is a FIFO",
    socket_file: "socket: is a socket",
    device: "null: is a device",
    setuid: "setuid",
    control_characters: r"control characters",
    not_utf8: "not UTF-8",
    other_direction: "control characters",
    huge_sparse_file: "MiB in all",
    many_files: "files and directories",
    deep: "nested deeper",
    long_path: "longer than",
    file_for_directory: "is no directory",
}


# These set owners or modes themselves.
LAST = {swap_owner, swap_top_owner, setuid, file_for_directory, link_as_submission}


def laid(lesson: Course, user: str, attack: Callable[[Course, Path], None]) -> Path:
    """A submission of somebody with an attack in it."""
    place = lesson.submit(user)
    attack(lesson, place)
    if attack in {file_for_directory, link_as_submission}:
        os.chown(place, lesson.uid(user), lesson.uid(user), follow_symlinks=False)
    elif attack not in LAST:
        lesson.give(place, lesson.uid(user))
    return place
