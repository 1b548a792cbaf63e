"""Memory of an idle student server: without a kernel, and with one that has done nothing.

Anonymous memory of the container's cgroup: what the node cannot get back by dropping caches.

    python -m bench.memory
"""

import time

from bench import common
from tests.support import lab
from tests.support.client import Student

SETTLE = 20  # seconds; a server that just started still holds what its start needed


def anonymous(student: Student) -> float:
    """MB of anonymous memory of the student's container, on cgroup v1 or v2."""
    node = lab.node_of(student.name)
    (short,) = lab.containers_of(student.name, node)
    files = lab.shell(node, f"find /sys/fs/cgroup -name memory.stat -path '*{short}*'").split()
    stat = lab.on(node, "cat", min(files, key=len))
    values = dict(line.split() for line in stat.splitlines())
    return int(values.get("total_rss") or values["anon"]) / 1e6


def main() -> None:
    site = lab.site()
    (student,) = common.students(site, 1)
    common.started(student)
    time.sleep(SETTLE)
    idle = anonymous(student)
    student.kernel().run("pass")
    time.sleep(SETTLE)
    print(common.environment())
    print(f"idle server: {idle:.0f} MB; with one idle kernel: {anonymous(student):.0f} MB")
    student.stop()


if __name__ == "__main__":
    main()
