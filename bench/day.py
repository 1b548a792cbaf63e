"""A day of a real class in fast motion: classhub's culler, and beside it jupyterhub-idle-culler 2.0 on the same servers.

python -m bench.day [STUDENTS] [SECONDS]

STUDENTS (10) come and go for 24 hours of SECONDS (20) each, with real servers, kernels and pages: some leave a computation
behind that prints nothing, some an open page. The limit is three hours, and both cullers look once an hour. classhub
stops what it decides on. The other one asks the same hub by way of a gateway that notes what it would stop and lets it go
on, so it meets what it would have stopped again; that is counted once. Needs the lab, and the package
jupyterhub-idle-culler==2.0.0 on the path (bench/README.md).
"""

import asyncio
import contextlib
import http.server
import logging
import random
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from websocket import WebSocketException

from bench import common
from bench.cull import Life, Visit, theirs
from tests.support import lab
from tests.support.client import Site, Student

HOURS, LIMIT = 24, 3
FAST = "/etc/jupyterhub/jupyterhub_config.d/day.py"
# what is five minutes otherwise: fifteen hours of a day as short as this
FAST_HUB = (
    "c.JupyterHub.last_activity_interval = 3; "
    'c.Spawner.environment = {"JUPYTERHUB_ACTIVITY_INTERVAL": "3"}'
)
SILENT = "import time\nfor _ in range({}): time.sleep(1)\nopen('day-{}.txt', 'w').write('done')"


def visits(names: list[str]) -> dict[str, list[Visit]]:
    """By student; all times are hours from the start of the day."""
    chance, found = random.Random(5), {}  # noqa: S311 - the same day each time
    for name in names:
        now, mine = chance.uniform(0, 6), []
        while now < HOURS - 10:
            left = now + chance.uniform(0.5, 2)
            done = left + chance.uniform(4, 8) if chance.random() < 0.4 else left
            closed = left + chance.uniform(4, 8) if chance.random() < 0.3 else left
            mine.append(Visit(now, name, "", left, done, closed))
            now = max(left, done, closed) + chance.uniform(0.5, 8)
        found[name] = mine
    return found


@dataclass
class Day:
    """What is known of the servers, by who uses them.

    Attributes:
        began: when the day began, as all times since 1970
        hour: seconds
        lives: of the servers that run
        wanted: files that computations leave behind
    """

    began: float
    hour: float
    lives: dict[str, Life] = field(default_factory=dict)
    wanted: list[str] = field(default_factory=list)

    def sleep_until(self, hours: float) -> None:
        time.sleep(max(0.0, self.began + hours * self.hour - time.time()))

    def idles(self, user: str, hours: float) -> bool:
        life, now = self.lives.get(user), time.time()
        return bool(life and not life.is_busy(now) and now - life.active(now) >= hours * self.hour)


def live(day: Day, student: Student, mine: list[Visit]) -> None:
    """A student's day."""
    for number, visit in enumerate(mine):
        day.sleep_until(visit.start)
        begin(day, student)
        life = day.lives[student.name]
        kernel = student.kernel()
        while time.time() < day.began + visit.left * day.hour:
            kernel.run("6 * 7")
            life.used = time.time()
            time.sleep(day.hour / 10)
        if visit.done > visit.left:
            seconds = round((visit.done - visit.left) * day.hour)
            kernel.begin(SILENT.format(seconds, number))
            life.busy = (time.time(), time.time() + seconds)
            day.wanted.append(f"/home/{student.name}/day-{number}.txt")
        if visit.closed > visit.left:
            path = f"/user/{student.name}/api/kernels/{kernel.id}/channels"
            with contextlib.closing(student.site.websocket(path, student.token, 10)) as page:
                while time.time() < day.began + visit.closed * day.hour:
                    with contextlib.suppress(OSError, WebSocketException):  # it was stopped
                        page.ping()
                    time.sleep(2)


def begin(day: Day, student: Student) -> None:
    """Have a server; one that is just being stopped has to be gone first."""
    until = time.time() + 60
    while not (begun := student.start()).ready:
        if time.time() > until:
            raise RuntimeError(f"{student.name}: {begun.message}")
        time.sleep(1)
    now = time.time()
    day.lives.setdefault(student.name, Life(now)).used = now


class Gateway(http.server.BaseHTTPRequestHandler):
    """The hub's API for whoever must stop nothing."""

    site: Site
    stopped: set[str]

    def do_GET(self) -> None:
        headers = {
            key: self.headers[key] for key in ("Authorization", "Accept") if key in self.headers
        }
        with self.site.session() as session:
            told = session.get(f"{self.site.url}/hub/api{self.path}", headers=headers, timeout=30)
        self.answer(told.status_code, told.content)

    def do_DELETE(self) -> None:
        self.stopped.add(self.path.split("/")[2])
        self.answer(204, b"")

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        if status != http.HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: its requests are no result."""


@contextlib.contextmanager
def gateway(site: Site) -> Iterator[tuple[str, set[str]]]:
    """The address of a gateway, and who would have been stopped by it."""
    stopped: set[str] = set()
    handler = type("Handler", (Gateway,), {"site": site, "stopped": stopped})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", stopped
        server.shutdown()


@contextlib.contextmanager
def fast(site: Site, hour: float) -> Iterator[None]:
    """The class with a limit of so many short hours, and a hub that notes activity as soon as it does at full length."""
    settings = {"cull": {"interval": 0, "grace": 0, "idle": round(LIMIT * hour)}}
    try:
        with lab.settings(settings):
            restarted(site, f"echo '{FAST_HUB}' >{FAST}")
            lab.apply("hub", "course")
            yield
    finally:
        lab.apply("hub", "course")
        restarted(site, f"rm -f {FAST}")


def restarted(site: Site, change: str) -> None:
    lab.shell("hub", f"mkdir -p $(dirname {FAST}); {change}; systemctl restart jupyterhub")
    lab.wait_for_hub(site)


@dataclass
class Tally:
    """What a culler did: servers that it stopped, and of these, that computed or were worked at; and that it missed."""

    stopped: int = 0
    busy: int = 0
    in_use: int = 0
    missed: int = 0

    def stop(self, life: Life, at_work: bool, looked: float) -> None:
        """Note a server that was stopped after a look: who came after that met a server that was about to go."""
        self.stopped += 1
        self.busy += life.is_busy(looked) and life.is_busy(time.time())
        self.in_use += at_work


def watch(day: Day, plan: dict[str, list[Visit]], site: Site) -> dict[str, Tally]:
    """Both look once an hour, until everybody has gone and the limit has passed."""
    ours, others, told = Tally(), Tally(), set()
    token = lab.operator(site).token
    log = logging.getLogger("idle-culler")
    log.setLevel(logging.ERROR)
    with gateway(site) as (url, would):
        for hour in range(1, HOURS + LIMIT + 3):
            day.sleep_until(hour)
            would.clear()
            limit, looked = round(LIMIT * day.hour), time.time()
            asyncio.run(theirs.cull_idle(url, token, limit, log, concurrency=10))
            for user in would:
                life = day.lives.get(user)
                if life and id(life) not in told:
                    told.add(id(life))
                    others.stop(life, is_at_work(day, plan[user], looked), looked)
            # what they have not stopped an hour after they should have
            late = {user for user in list(day.lives) if day.idles(user, LIMIT + 1)}
            others.missed += sum(id(day.lives[user]) not in told for user in late)
            looked = time.time()
            table = lab.salt_run("classhub.cull")["table"]
            for user, words in table.items():
                if words.startswith("done: stop"):
                    late.discard(user)
                    ours.stop(day.lives.pop(user), is_at_work(day, plan[user], looked), looked)
            ours.missed += len(late)
            print(f"hour {hour:2}: {len(lab.servers())} servers, {ours}, {others}", flush=True)
    return {"classhub": ours, "idle-culler 2.0": others}


def is_at_work(day: Day, mine: list[Visit], at: float) -> bool:
    """Whether a student was at a server at a time, and is."""
    begun, now = (at - day.began) / day.hour, (time.time() - day.began) / day.hour
    return any(one.start <= begun and now < one.left for one in mine)


def main(count: int = 10, hour: float = 20) -> None:
    site = lab.site()
    with fast(site, hour):
        students = common.students(site, count)
        for student in students:
            lab.shell("hub", f"rm -f /home/{student.name}/day-*.txt")
        plan = visits([student.name for student in students])
        day = Day(time.time(), hour)
        with ThreadPoolExecutor(count) as pool:
            lives = [pool.submit(live, day, student, plan[student.name]) for student in students]
            tallies = watch(day, plan, site)
            for life in lives:
                life.result()
        left = lab.servers()
    lost = [path for path in day.wanted if lab.shell("hub", f"cat {path}", check=False) != "done"]
    print(common.environment())
    print(
        f"{count} students, {sum(map(len, plan.values()))} visits, {len(day.wanted)} computations without output "
        f"that are longer than the limit; {len(lost)} of them lost; servers at the end: {len(left)}"
    )
    for side, found in tallies.items():
        print(
            f"{side:16} stopped {found.stopped}, of which busy {found.busy}, in use {found.in_use}; missed {found.missed}"
        )
    if lost or left or tallies["classhub"].busy or tallies["classhub"].in_use:
        sys.exit(f"work was lost: {lost or tallies}" if lost else "not as it should be")


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:3]))
