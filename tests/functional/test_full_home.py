"""A student whose home is full: the real server starts, opens, runs and deletes, and a save that fails costs nothing.

The home is on a small ext4 of its own.
"""

import json
import os
from pathlib import Path

import pytest

from tests.support.disks import fill, small_ext4
from tests.support.student_server import UID, StudentServer, student_server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a disk"),
]


def notebook(source: str) -> dict:
    return {
        "cells": [
            {
                "cell_type": "code",
                "id": "a1",
                "metadata": {},
                "outputs": [],
                "execution_count": None,
                "source": source,
            }
        ],
        "metadata": {
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def save(server: StudentServer, path: str, content: dict) -> tuple[int, str]:
    """The status of an answer to JupyterLab's save, and what it would show."""
    body = {"type": "notebook", "format": "json", "content": content}
    answer = server.call("PUT", f"api/contents/{path}", json=body)
    return answer.status_code, answer.json().get("message") or ""


def source(path: Path) -> str:
    """What the one cell of a notebook on the disk says."""
    return "".join(json.loads(path.read_bytes())["cells"][0]["source"])


def own(path: Path, data: bytes = b"") -> Path:
    path.write_bytes(data)
    os.chown(path, UID, UID)
    return path


@pytest.fixture
def home(tmp_path):
    """A home on a disk of 8 MiB that takes 64 files; alice has a notebook and a file to delete."""
    homes = tmp_path / "homes"
    homes.mkdir()
    for parent in (tmp_path, *tmp_path.parents[:2]):
        parent.chmod(0o755)
    with small_ext4(homes, tmp_path / "disk", 8 << 20, "-N", "64", "-O", "^has_journal"):
        made = homes / "alice"
        made.mkdir(mode=0o700)
        os.chown(made, UID, UID)
        own(made / "a.ipynb", json.dumps(notebook("1")).encode())
        own(made / "old.bin", b"x" * 200_000)
        yield made


def out_of_room(home: Path) -> None:
    fill(home.parent)


def out_of_files(home: Path) -> None:
    for number in range(64):
        try:
            own(home / f"f{number}")
        except OSError:
            return


def everything(home: Path) -> set[str]:
    return {str(path.relative_to(home)) for path in home.rglob("*")}


@pytest.mark.parametrize("full", [out_of_room, out_of_files])
def test_a_server_starts_works_and_deletes_in_a_home_that_never_had_one(home, full):
    full(home)
    before, content = everything(home), (home / "a.ipynb").read_bytes()
    with student_server(home.parent.parent) as server:
        for page in (
            "lab",
            "tree",
            "api/contents/a.ipynb",
            "api/contents/a.ipynb/checkpoints",
            "lab/api/settings",
            "lab/api/workspaces",
        ):
            assert server.call("GET", page).status_code == 200, page
        assert server.run_cell("a.ipynb", "print(6 * 7)") == "42\n"
        code = "import IPython; print(IPython.paths.get_ipython_dir())"
        assert server.run_cell("a.ipynb", code) == "/tmp/ipython\n"

        for path in ("a.ipynb", "new.ipynb"):
            told = f"{path}: the disk is full. Delete files that you do not need, then save again."
            assert save(server, path, notebook("y" * 9000)) == (507, told)
        # JupyterLab asks for one when it opens a file
        assert server.call("POST", "api/contents/a.ipynb/checkpoints").status_code == 201
        back = server.call("POST", "api/contents/a.ipynb/checkpoints/checkpoint")
        assert back.status_code == 507
        assert server.call("POST", "api/contents", json={"type": "directory"}).status_code == 507
        assert (home / "a.ipynb").read_bytes() == content
        assert everything(home) == before

        assert "done" in server.type("rm old.bin f0 f1 f2 f3; echo do''ne", "done")
        assert not (home / "old.bin").exists()
        own(home / "more.bin", b"x")
        assert server.call("DELETE", "api/contents/more.bin").status_code == 204
        assert save(server, "a.ipynb", notebook("y" * 9000)) == (200, "")
        assert len((home / "a.ipynb").read_bytes()) > 9000


def test_a_file_is_never_torn_whatever_room_is_left(home):
    """What fits into a buffer fails at its flush, which is where Jupyter's own way loses the file."""
    old, new, results = "1", "y" * 7000, set()
    with student_server(home.parent.parent) as server:
        assert save(server, "a.ipynb", notebook(old)) == (200, "")  # with its checkpoint
        for left in range(16):
            own(home / "a.ipynb", json.dumps(notebook(old)).encode())
            fill(home.parent, left)
            expected = old
            for _ in range(2):
                status, _ = save(server, "a.ipynb", notebook(new))
                expected = new if status == 200 else expected
                assert source(home / "a.ipynb") == expected, (left, status)
                results.add(status)
            assert not (home / ".~a.ipynb").exists()
    assert results == {200, 507}


def test_a_checkpoint_comes_back_whole_or_not_at_all(home):
    long, short = "y" * 20_000, "1"
    with student_server(home.parent.parent) as server:
        save(server, "a.ipynb", notebook(long))
        (checkpoint,) = server.call("GET", "api/contents/a.ipynb/checkpoints").json()
        path = f"api/contents/a.ipynb/checkpoints/{checkpoint['id']}"
        assert server.call("POST", "api/contents/a.ipynb/checkpoints").status_code == 201
        save(server, "a.ipynb", notebook(short))
        fill(home.parent)
        (older,) = server.call("GET", "api/contents/a.ipynb/checkpoints").json()
        assert server.call("POST", "api/contents/a.ipynb/checkpoints").json() == older
        assert server.call("POST", path).status_code == 507
        assert source(home / "a.ipynb") == short
        (home.parent / "filler").unlink()
        assert server.call("POST", path).status_code == 204
        assert source(home / "a.ipynb") == long


def test_files_keep_their_modes_and_links_stay_links(home):
    own(home / "run.sh", b"old").chmod(0o750)
    (home / "link.txt").symlink_to("run.sh")
    os.chown(home / "link.txt", UID, UID, follow_symlinks=False)
    with student_server(home.parent.parent) as server:
        body = {"type": "file", "format": "text", "content": "new\n"}
        assert server.call("PUT", "api/contents/link.txt", json=body).status_code == 200
        assert (home / "link.txt").is_symlink()
        assert (home / "run.sh").read_text() == "new\n"
        assert (home / "run.sh").stat().st_mode & 0o777 == 0o750
        body = {"type": "file", "format": "base64", "content": "AAEC", "chunk": 1}
        assert server.call("PUT", "api/contents/large", json=body).status_code == 201
        body |= {"content": "AwQ=", "chunk": -1}
        assert server.call("PUT", "api/contents/large", json=body).status_code == 200
        assert (home / "large").read_bytes() == bytes(range(5))
