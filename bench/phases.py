"""The phases of each `make up` that this checkout's lab has recorded.

python -m bench.phases
"""

import json
import sys
from pathlib import Path

RECORD = Path(__file__).resolve().parents[1] / ".lab" / "phases.jsonl"


def main() -> None:
    if not RECORD.exists():
        sys.exit("no phases are recorded: run `make up` first (`make down` forgets them)")
    for line in RECORD.read_text(encoding="utf-8").splitlines():
        run = json.loads(line)
        ended = "" if run["succeeded"] else ", failed"
        print(f"{run['at']}  {run['command']} ({run['hosts']}){ended}")
        for name, seconds in [*run["phases"].items(), ("total", run["total"])]:
            share = seconds / run["total"] * 100 if run["total"] else 0
            print(f"  {name:<40} {seconds:7.1f} s  {share:3.0f} %")


if __name__ == "__main__":
    main()
