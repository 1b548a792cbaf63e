"""Time of `salt '*' state.apply` on a class that needs nothing, and where it goes.

python -m bench.apply [N]
"""

import sys
import time

from bench import common
from tests.support import lab

SLOWEST = 5


def measure() -> tuple[float, dict[str, lab.Applied]]:
    began = time.monotonic()
    applied = lab.apply()
    seconds = time.monotonic() - began
    unsettled = lab.lines(applied, "failed") + lab.lines(applied, "changed")
    if unsettled:
        sys.exit("the class was not settled; run this again:\n" + "\n".join(unsettled))
    return seconds, applied


def main(count: int) -> None:
    runs = [measure() for _ in range(count)]
    print(common.environment())
    print(f"unchanged state.apply, all hosts: {common.summary([run[0] for run in runs])}")
    for host, applied in sorted(runs[-1][1].items()):
        times = sorted(
            ((float(state.get("duration") or 0) / 1000, state) for state in applied.states),
            key=lambda pair: -pair[0],
        )
        print(f"  {host}: {len(times)} states, {sum(time for time, _ in times):.1f} s in them")
        for seconds, state in times[:SLOWEST]:
            print(f"    {seconds:6.2f} s  {state['__id__']} ({state['__sls__']})")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
