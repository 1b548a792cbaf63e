"""Time from click to ready, against a bare `docker run` of the same image on a node.

Both sides end at the first HTTP answer of a Jupyter server that runs as the same student, on the
same home, with the same limits. They take turns, so that a busy moment hits both.

    python -m bench.spawn [N]
"""

import statistics
import sys

from bench import common
from tests.support import lab
from tests.support.client import Student

# Runs on the node: the time is that of the node, without the way into it.
BARE = r"""
import http.client, subprocess, sys, time
docker = ["docker", "run", "--detach", "--name", "bare"] + sys.argv[1:]
began = time.monotonic()
subprocess.run(docker, check=True, stdout=subprocess.DEVNULL)
find = ["docker", "inspect", "-f", "{{.NetworkSettings.IPAddress}}", "bare"]
address = subprocess.run(find, check=True, capture_output=True, text=True).stdout.strip()
try:
    while time.monotonic() < began + 120:
        try:
            connection = http.client.HTTPConnection(address, 8888, timeout=2)
            connection.request("GET", "/api")
            connection.getresponse()
            break
        except OSError:
            time.sleep(0.02)
    else:
        sys.exit("no answer within 120 s")
    print(time.monotonic() - began)
finally:
    subprocess.run(["docker", "rm", "--force", "bare"], stdout=subprocess.DEVNULL)
"""


def bare(node: str, student: str) -> float:
    """Seconds of a bare start on a node."""
    uid = lab.on("hub", "id", "-u", student)
    home = f"/home/{student}"
    options = [
        *["--user", f"{uid}:{uid}", "--volume", f"{home}:{home}", "--workdir", home],
        *["--env", f"HOME={home}", "--env", "XDG_CACHE_HOME=/tmp/cache"],
        *["--memory", "1g", "--pids-limit", "512", "--cap-drop", "ALL", "--init"],
        *["--read-only", "--tmpfs", "/tmp:mode=1777,size=128m"],  # noqa: S108
    ]
    command = ["jupyter", "lab", "--ip=0.0.0.0", "--port=8888", "--no-browser"]
    argv = [*options, lab.student_image(), *command]
    return float(lab.on(node, "/opt/salt/bin/python3", "-c", BARE, *argv, timeout=300))


def through_the_class(student: Student) -> float:
    """Seconds from the request to the hub's word that the server is ready."""
    seconds = common.started(student)
    student.stop()
    return seconds


def main(count: int) -> None:
    site = lab.site()
    (student,) = common.students(site, 1)
    node = lab.node_hosts()[0]
    through_the_class(student)  # once each to warm up
    bare(node, student.name)
    classes, bares = [], []
    for _ in range(count):
        classes.append(through_the_class(student))
        bares.append(bare(node, student.name))
    print(common.environment())
    print(f"click to ready through the class: {common.summary(classes)}")
    print(f"docker run to the first answer:   {common.summary(bares)}")
    print(f"ratio of the medians: {statistics.median(classes) / statistics.median(bares):.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
