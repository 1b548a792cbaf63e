"""Release to many homes, against Ansible's `copy`, against cp and chown, and against one process that only copies.

python -m bench.release [N]    as root; homes on the disk of the temporary directory

Ansible's `copy` for each home is the way of the deployment that classhub follows. It is measured over
100 homes and scaled. ansible-core goes into an environment of its own in .cache/bench.
"""

import contextlib
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "salt" / "hub" / "package"
sys.path.insert(0, str(PACKAGE))

from classhub.course.__main__ import main as classhub  # noqa: E402

FIRST_UID, REPEATS = 210_000, 6
ANSIBLE = ROOT / ".cache" / "bench" / "ansible"
ANSIBLE_VERSION, ANSIBLE_HOMES = "2.19.14", 100
GROWTH = {100: 5, 1_000: 3, 10_000: 1}  # homes -> runs
# as large as nbgrader's own example assignment
FILES = {"problem1.ipynb": 7_000, "problem2.ipynb": 4_000, "jupyter.png": 6_000}


def make_class(base: Path, count: int) -> list[tuple[Path, int]]:
    """Homes and uids, a course with one released assignment, and the settings."""
    people = [(f"s{number:05d}", FIRST_UID + number) for number in range(count)]
    for name, uid in people:
        (base / "home" / name).mkdir(mode=0o700, parents=True)
        os.chown(base / "home" / name, uid, uid)
    release = base / "course" / "release" / "ps1"
    release.mkdir(parents=True)
    for name, size in FILES.items():
        (release / name).write_bytes(os.urandom(size))
    settings = {
        "course_id": "bench",
        "people": [{"username": name, "uid": uid} for name, uid in people],
        "course_dir": str(base / "course"),
        "exchange": str(base / "exchange"),
        "homes": str(base / "home"),
    }
    (base / "course.json").write_text(json.dumps(settings), encoding="utf-8")
    return [(base / "home" / name, uid) for name, uid in people]


def by_classhub(base: Path, homes: list[tuple[Path, int]]) -> None:
    answer = io.StringIO()
    with contextlib.redirect_stdout(answer), contextlib.redirect_stderr(io.StringIO()):
        code = classhub(["--config", str(base / "course.json"), "release", "ps1"])
    if code != 0:
        sys.exit(answer.getvalue())


def by_shell(base: Path, homes: list[tuple[Path, int]]) -> None:
    script = (
        'while read -r home uid; do cp -r "$0" "$home/ps1"; chown -R "$uid:$uid" "$home/ps1"; done'
    )
    lines = "".join(f"{home} {uid}\n" for home, uid in homes)
    source = base / "course" / "release" / "ps1"
    subprocess.run(["bash", "-c", script, source], input=lines, text=True, check=True)


def by_copying(base: Path, homes: list[tuple[Path, int]]) -> None:
    """One process, nothing but mkdir, open, write, close and chown."""
    source = base / "course" / "release" / "ps1"
    data = [(path.name, path.read_bytes()) for path in source.iterdir()]
    for home, uid in homes:
        target = f"{home}/ps1"
        os.mkdir(target)
        for name, content in data:
            fd = os.open(f"{target}/{name}", os.O_WRONLY | os.O_CREAT, 0o644)
            os.write(fd, content)
            os.fchown(fd, uid, uid)
            os.close(fd)
        os.chown(target, uid, uid)


def install_ansible() -> None:
    """ansible-core in an environment of its own, if it is not there."""
    if (ANSIBLE / "bin" / "ansible-playbook").exists():
        return
    subprocess.run([sys.executable, "-m", "venv", ANSIBLE], check=True)
    package = f"ansible-core=={ANSIBLE_VERSION}"
    subprocess.run([ANSIBLE / "bin" / "pip", "install", "--quiet", package], check=True)


def by_ansible(base: Path, homes: list[tuple[Path, int]]) -> None:
    """A task that loops over the homes, on this machine itself; what is there stays."""
    copy = {
        "src": str(base / "course" / "release" / "ps1"),
        "dest": "{{ item.home }}/",
        "owner": "{{ item.uid }}",
        "group": "{{ item.uid }}",
        "force": False,
    }
    people = [{"home": str(home), "uid": str(uid)} for home, uid in homes]
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "tasks": [{"ansible.builtin.copy": copy, "loop": people}],
    }
    (base / "play.yml").write_text(json.dumps([play]), encoding="utf-8")
    python = f"ansible_python_interpreter={ANSIBLE}/bin/python"
    command = [ANSIBLE / "bin" / "ansible-playbook", "-i", "localhost,", "-e", python]
    env = os.environ | {"ANSIBLE_HOME": str(base / "ansible")}
    run = subprocess.run(
        [*command, base / "play.yml"], env=env, capture_output=True, text=True, check=False
    )
    if run.returncode:
        sys.exit(run.stdout[-2000:] + run.stderr[-2000:])


def measure(way: Callable, count: int) -> tuple[float, float]:
    """Seconds until the way returns, and until all of it is on the disk."""
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch)
        base.chmod(0o711)  # students must reach their homes
        homes = make_class(base, count)
        os.sync()
        began = time.monotonic()
        way(base, homes)
        returned = time.monotonic()
        os.sync()
        lasting = time.monotonic()
        check(homes)
        shutil.rmtree(base / "home")
        os.sync()
    return returned - began, lasting - began


def check(homes: list[tuple[Path, int]]) -> None:
    """Every home has every file, and each is its owner's."""
    for home, uid in homes:
        for name, size in FILES.items():
            found = (home / "ps1" / name).stat()
            if (found.st_uid, found.st_size) != (uid, size):
                sys.exit(f"{home}/ps1/{name} is not as it was released")


def main(count: int) -> None:
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {len(FILES)} files each")
    classhub_seconds = side_by_side(count)
    growth()
    beside_ansible(count, classhub_seconds)


def beside_ansible(count: int, classhub_seconds: float) -> None:
    install_ansible()
    each = measure(by_ansible, ANSIBLE_HOMES)[0] / ANSIBLE_HOMES
    ours = measure(by_classhub, ANSIBLE_HOMES)[0] / ANSIBLE_HOMES
    print(
        f"Ansible's copy, {ANSIBLE_HOMES} homes: {1000 * each:.0f} ms a home, "
        f"{each / ours:.0f} x classhub's {1000 * ours:.1f} ms; "
        f"scaled to {count} homes {count * each:.0f} s, {count * each / classhub_seconds:.0f} x"
    )


def growth() -> None:
    for count, runs in GROWTH.items():
        seconds = statistics.median(measure(by_classhub, count)[1] for _ in range(runs))
        print(f"classhub, {count} homes: {1000 * seconds / count:.2f} ms a home, on disk")


def side_by_side(count: int) -> float:
    """Print how the ways compare that take turns; the seconds of classhub's."""
    ways = {"classhub release": by_classhub, "cp and chown": by_shell, "only copying": by_copying}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    names = list(ways)
    for number in range(REPEATS):
        for name in names[number % 3 :] + names[: number % 3]:  # none always follows the same
            times[name].append(measure(ways[name], count))
    medians = {
        name: [statistics.median(values) for values in zip(*pairs, strict=True)]
        for name, pairs in times.items()
    }
    print(f"{count} homes")
    print("way                    returned   on disk   (medians, seconds)")
    for name, (returned, lasting) in medians.items():
        print(f"{name:20s}  {returned:8.2f}  {lasting:8.2f}")
    for name in ("cp and chown", "only copying"):
        pairs = zip(times["classhub release"], times[name], strict=True)
        ratios = [(ours[0] / other[0], ours[1] / other[1]) for ours, other in pairs]
        returned, lasting = (statistics.median(values) for values in zip(*ratios, strict=True))
        least, most = min(ratios)[0], max(ratios)[0]
        print(
            f"classhub / {name}: {returned:.2f} returned ({least:.2f} to {most:.2f}), "
            f"{lasting:.2f} on disk; medians of {REPEATS} rounds"
        )
    return medians["classhub release"][0]


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
