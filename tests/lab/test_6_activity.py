"""What happens to students' containers is recorded once, whatever is restarted meanwhile, and staff see it."""

import json
import time
from datetime import datetime

import pytest

from lab import master
from tests.lab import journey
from tests.support import browser, lab
from tests.support.waiting import wait_until

DATABASE = "/srv/stats/db/activity.sqlite"
SPOOL = "/var/lib/classhub/activity/spool.sqlite"
NODE = "node1"
# `true` in a container that is kept: its engine says later when it ran. Said again until the engine has done it.
BURST = """
for number in $(seq {first} 3 {count}); do
    name=burst-$number
    until docker inspect $name >/dev/null 2>&1; do
        docker create --name $name --network none --label classhub.user=s$((number % 50)) {image} true >/dev/null 2>&1 ||
            sleep 0.5
    done
    until docker inspect -f '{{{{.State.StartedAt}}}}' $name 2>/dev/null | grep -q '^2'; do
        docker start $name >/dev/null 2>&1 || sleep 0.5
    done
done
"""


def rows(query: str) -> list[list]:
    """What a query of the activity database gives."""
    code = (
        "import json, sqlite3, sys; base = sqlite3.connect('file:{}?mode=ro'.format(sys.argv[1]), uri=True, timeout=30)"
        "; print(json.dumps(base.execute(sys.argv[2]).fetchall()))"
    )
    return json.loads(lab.on("hub", "/usr/bin/python3", "-c", code, DATABASE, query))


HOLDERS = "for place in /proc/[0-9]*; do ls -l $place/fd 2>/dev/null | grep -q activity/lock && echo ${place#/proc/}; done; true"


def engines() -> list[str]:
    """Pids of the processes that follow the containers, or wait to."""
    return lab.shell(NODE, HOLDERS).split()


def test_a_server_is_recorded_by_itself(quiet, student):
    """Events, reactor, pull: nobody says anything. The schedule's own pull is five minutes apart."""
    began = time.time()
    node = journey.start(student("ada"))
    lab.operator(quiet).stop("ada")
    query = f"select node, began, ended, estimated from session where user = 'ada' and began > {began - 5} * 1e9"
    wait_until(
        "ada's server is recorded",
        lambda: [row for row in rows(query) if row[2]],
        90,
        pause=2,
        ignoring=(lab.CommandFailed,),  # nothing ever was, and there is no database yet
    )
    ((found, start, end, estimated),) = rows(query)
    assert (found, estimated) == (node, 0)
    assert began - 5 < start / 1e9 < end / 1e9 < time.time() + 5
    table = lab.salt_run("classhub.activity", "sessions")
    assert [row["user"] for row in table][-1] == "ada"
    text = lab.salt("hub", "classhub.activity", "peak", "format=csv")["hub"]
    assert text.splitlines()[0] == "of,most,at"


def test_who_uses_the_class_is_sampled_and_asked(quiet, student):
    ada = student("ada")
    journey.start(ada)
    ada.kernel().run("6 * 7")
    report = lab.salt_run("classhub.pull_activity", "sample=True")
    assert report["summary"]["servers"] == 1
    (hour, *_) = lab.salt_run("classhub.activity", "hourly")[::-1]
    assert (hour["people"], hour["servers"]) >= (1, 1)
    (forecast,) = lab.salt_run("classhub.activity", "forecast")
    assert forecast["seats"] >= 1
    assert forecast["nodes"] >= 1
    hours = lab.salt_run("classhub.activity", "hours", "format=csv")
    assert hours.startswith("user,hours")


def restart_minion() -> None:
    lab.shell(NODE, "systemctl restart salt-minion", timeout=180)


def kill_engine() -> None:
    lab.on(NODE, "kill", "-KILL", *engines(), check=False)


def restart_master() -> None:
    master.stop()
    master.start("full")


def restart_docker() -> None:
    lab.shell(NODE, "systemctl restart docker", timeout=180)


@pytest.mark.parametrize("count", [60, pytest.param(2500, marks=pytest.mark.long)])
def test_events_are_recorded_once_whatever_is_restarted(quiet, count):
    """Each of the containers starts and ends once; their engine, which keeps them, says when."""
    wait_until("the node's minion follows the containers", engines, 60)
    for first in (1, 2, 3):  # three at once
        script = BURST.format(first=first, count=count, image=lab.student_image())
        lab.shell(NODE, f"nohup sh -c '{script.replace(chr(39), chr(34))}' >/dev/null 2>&1 &")
    try:
        restarts = (kill_engine, restart_minion, restart_master, restart_docker)
        for part, restart in enumerate(restarts, 1):
            wait_for(count * part // 5)
            restart()
        wait_until("the burst has run", lambda: ended() == count, 3600, pause=2)
        truth = ran()
        check(truth)
    finally:
        remove()


def wait_for(count: int) -> None:
    wait_until(
        f"{count} containers of the burst are made", lambda: len(names()) >= count, 3600, pause=1
    )


def names(*words: str) -> list[str]:
    return lab.docker(
        NODE, "ps", "-aq", "--no-trunc", "--filter", "name=^burst-", *words, check=False
    ).split()


def ended() -> int:
    return len(names("--filter", "status=exited"))


def ran() -> dict[str, tuple[float, float]]:
    """Container -> when it started and ended, as the engine says."""
    form = "{{.Id}} {{.State.StartedAt}} {{.State.FinishedAt}}"
    found = {}
    for chunk in chunks(names(), 200):
        for line in lab.docker(NODE, "inspect", "-f", form, *chunk).splitlines():
            name, *times = line.split()
            found[name] = tuple(
                datetime.fromisoformat(f"{time[:26].rstrip('Z')}+00:00").timestamp()
                for time in times
            )
    return found


def chunks(found: list[str], size: int) -> list[list[str]]:
    return [found[place : place + size] for place in range(0, len(found), size)]


def check(truth: dict[str, tuple[float, float]]) -> None:
    """Each start and end is in the database once, in order, at its time; nothing waits on the node any more."""
    known = {int(name[:15], 16) for name in truth}

    def recorded() -> dict[int, list]:
        query = "select server, action, at, estimated from event order by at"
        found: dict[int, list] = {}
        for name, action, at, estimated in rows(query):
            if name in known:
                found.setdefault(name, []).append((action, at / 1e9, estimated))
        return found

    def all_there() -> bool:
        return sum(len(events) for events in recorded().values()) >= 2 * len(truth)

    wait_until("all events are recorded", all_there, 400, pause=5)
    found = recorded()
    wrong = {}
    for name, (start, end) in truth.items():
        events = found.get(int(name[:15], 16), [])
        right = [action for action, *_ in events] == ["start", "die"]
        if not (right and abs(events[0][1] - start) < 15 and abs(events[1][1] - end) < 15):
            wrong[name] = (events, start, end)
    assert not wrong, f"{len(wrong)} of {len(truth)}: {dict(list(wrong.items())[:3])}"
    estimated = sum(bool(event[2]) for events in found.values() for event in events)
    gaps = rows("select began, ended from gap join node on node.id = gap.node where name = 'node1'")
    print(
        f"{2 * len(truth)} events once and in order, of which {estimated} were made up; gaps: {gaps}"
    )
    assert gaps or not estimated


def remove() -> None:
    lab.on(
        NODE, "pkill", "-f", "name=burst-", check=False
    )  # not by a shell, which it would end, too
    time.sleep(1)
    lab.shell(NODE, "docker ps -aq --filter name=^burst- | xargs -r docker rm -f", timeout=900)
    lab.wait_for_minions()


@pytest.mark.long
def test_what_the_engine_cannot_tell_again_is_made_up(quiet):
    """More happens than the engine remembers, and nobody listens."""
    wait_until("the node's minion follows the containers", engines, 60)
    before = len(rows("select * from gap"))
    lab.shell(
        NODE,
        "systemctl stop salt-minion; fuser -k -KILL /var/lib/classhub/activity/lock; true",
        timeout=180,
    )
    try:
        run = f"docker run -d --name burst-kept --network none --label classhub.user=s01 {lab.student_image()} true"
        name = lab.shell(NODE, run).splitlines()[-1]
        # of any kind: what students' servers tell is lost among them
        lab.shell(NODE, "for n in $(seq 1 280); do docker rename burst-kept burst-x; docker rename burst-x burst-kept; done", timeout=600)  # fmt: skip
        time.sleep(16)  # what just happened is waited for
    finally:
        lab.shell(NODE, "systemctl start salt-minion")
        lab.wait_for_minions()
    try:
        query = (
            f"select action, estimated from event where server = {int(name[:15], 16)} order by at"
        )
        wait_until("it is recorded", lambda: len(rows(query)) == 2, 180, pause=3)
        assert rows(query) == [["start", 1], ["die", 1]]
        assert len(rows("select * from gap")) == before + 1
    finally:
        remove()


def test_events_that_somebody_forges_change_nothing(quiet):
    """The reactor takes a word as a word: whatever it says, the nodes are asked."""
    before = rows("select count(*) from event")
    lab.salt(
        NODE, "event.send", "classhub/activity", '{"rows": 5, "user": "ada", "args": ["; reboot"]}'
    )
    time.sleep(10)
    assert rows("select count(*) from event") == before


def test_staff_see_the_dashboard_and_students_are_refused(page, site, student, pictures):
    lab.salt_run("classhub.pull_activity", "sample=True")
    browser.sign_in(page, site, "grace", "/services/dashboard/", pictures)
    page.wait_for_selector("#nodes .main-svg")
    page.screenshot(path=pictures / "dashboard.png", full_page=True)
    assert "node1" in page.inner_text("#nodes table")
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(f"{site.url}/services/dashboard/")
    page.wait_for_selector("#nodes .main-svg")
    page.screenshot(path=pictures / "dashboard-phone.png")
    ada = student("ada")
    for path in ("", "data.json"):
        assert ada.page(f"/services/dashboard/{path}").status_code == 403
    assert "classhub_" not in ada.page("/metrics").text
    text = lab.on("hub", "curl", "-s", "--noproxy", "*", "http://127.0.0.1:8011/metrics")
    assert "classhub_node_memory_bytes" in text


def test_dashboard_sees_nothing_of_the_class_but_what_is_recorded(site):
    pid = lab.on("hub", "systemctl", "show", "classhub-dashboard", "-p", "MainPID", "--value")
    hidden = "/etc/classhub/course.json /var/lib/classhub/course /var/lib/jupyterhub/jupyterhub.sqlite /home/ada"
    for path in hidden.split():
        inside = f"nsenter --target {pid} --mount --setuid $(stat -c %u /proc/{pid}) ls {path}"
        assert lab.shell("hub", f"{inside} >/dev/null 2>&1; echo $?").splitlines()[-1] != "0", path
