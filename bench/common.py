"""What the measurements share: where they ran, signed-in students, and how figures are printed."""

import os
import platform
import statistics
import sys
from collections.abc import Sequence

from tests.support import lab
from tests.support.client import Site, Student


def environment() -> str:
    """One line about the machine, without which no figure means much."""
    with open("/proc/meminfo", encoding="ascii") as file:
        kilobytes = int(file.readline().split()[1])
    engine = lab.docker("hub", "version", "--format", "{{.Server.Version}}")
    groups = "v2" if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else "v1"
    return (
        f"{os.cpu_count()} cores, {kilobytes >> 20} GB, load {os.getloadavg()[0]:.1f}, "
        f"Linux {platform.release()}, Docker {engine}, cgroup {groups}, "
        f"hosts {', '.join(lab.hosts())}"
    )


def students(site: Site, count: int) -> list[Student]:
    """s01, s02, ... signed in; none of them has a server."""
    lab.stop_everyone(site)
    return [Student(f"s{number:02d}", site).sign_in() for number in range(1, count + 1)]


def started(student: Student) -> float:
    """Start the student's server; the seconds it took."""
    begun = student.start()
    if not begun.ready:
        sys.exit(f"the server of {student.name} did not start: {begun.message}")
    return begun.seconds


def summary(values: Sequence[float], unit: str = "s") -> str:
    """Median, least and most."""
    return (
        f"p50 {statistics.median(values):.2f} {unit} "
        f"(min {min(values):.2f}, max {max(values):.2f}, n={len(values)})"
    )
