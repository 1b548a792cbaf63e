"""A roster of many people becomes accounts with homes, beside useradd in a plain loop.

python -m bench.roster [N]    as root; N (1000) people, in copies of /etc that are thrown away
"""

import os
import sys
import tempfile
import time
from pathlib import Path

from tests.support.own_accounts import person, prepare, reconcile, within

LOOP = """
groupadd students
for number in $(seq 1 "$1"); do
    useradd --uid $((50000 + number)) --user-group --groups students --create-home --base-dir "$2" \\
        --shell /usr/sbin/nologin --comment "Student $number" "s$number" || exit 1
    chmod 0700 "$2/s$number"
done
"""


def main(count: int = 1000) -> None:
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    people = [person(f"s{number}", name=f"Student {number}") for number in range(1, count + 1)]
    with tempfile.TemporaryDirectory() as scratch:
        ours, theirs = prepare(Path(scratch, "ours")), prepare(Path(scratch, "theirs"))
        first, second = reconcile(ours, people), reconcile(ours, people)
        if len(first["table"]) != count or first["left"] or second["table"]:
            sys.exit(f"not everybody was settled by one run: {first['left']} {second['table']}")
        started = time.monotonic()
        within(theirs, ["sh", "-c", LOOP, "sh", str(count), theirs / "home"])
        loop = time.monotonic() - started
    print(f"classhub, {count} people: {first['seconds']:.2f} s")
    print(f"classhub, a second run: {second['seconds']:.2f} s, nothing changed")
    print(f"useradd in a loop: {loop:.2f} s; {loop / first['seconds']:.1f} times classhub's")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
