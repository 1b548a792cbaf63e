"""The start of a lesson: many students press start in the same moment.

python -m bench.burst [N]
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor

from bench import common
from tests.support import lab
from tests.support.client import Student


def main(count: int) -> None:
    site = lab.site()
    students = common.students(site, count)
    began = time.monotonic()
    with ThreadPoolExecutor(count) as pool:
        starts = list(pool.map(Student.start, students))
    total = time.monotonic() - began
    print(common.environment())
    print(f"{count} students pressed start: the last was ready after {total:.1f} s")
    ready = [start.seconds for start in starts if start.ready]
    if ready:
        print(f"each waited: {common.summary(ready)}")
    for student, start in zip(students, starts, strict=True):
        if not start.ready:
            print(f"  {student.name} was refused after {start.seconds:.1f} s: {start.message}")
    lab.stop_everyone(site)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
