"""The roster applied to accounts that are real, in a copy of /etc that only one process sees.

`python -m tests.support.own_accounts FOLDER` is that process.
"""

import json
import shutil
import subprocess
import sys
import time
from collections import ChainMap
from pathlib import Path

from tests.support.loading import ROOT, load

GROUPS = {"student": "students", "grader": "graders", "instructor": "instructors"}


def prepare(folder: Path) -> Path:
    """Homes, state and a copy of this machine's accounts in a new folder."""
    for name in ("home", "state"):
        (folder / name).mkdir(parents=True)
    shutil.copytree("/etc", folder / "etc", symlinks=True)
    return folder


def within(folder: Path, command: list[str | Path], **options) -> subprocess.CompletedProcess:
    """Run a command for which the folder's copy is /etc."""
    mount = 'mount --bind "$0/etc" /etc && exec "$@"'
    words = ["unshare", "--mount", "sh", "-c", mount, folder, *command]
    done = subprocess.run(words, check=False, capture_output=True, text=True, cwd=ROOT, **options)
    assert done.returncode == 0, done.stderr
    return done


def reconcile(folder: Path, people: list[dict], drops: int = 0) -> dict:
    """Apply a roster.

    Returns:
        ``table``, ``left`` (what a plan wants afterwards) and ``seconds`` of apply.
    """
    asked = json.dumps({"people": people, "drops": drops})
    within(folder, [sys.executable, "-m", "tests.support.own_accounts", folder], input=asked)
    return json.loads((folder / "answer.json").read_text())


def person(username: str, role: str = "student", name: str = "", uid: int | None = None) -> dict:
    return {"username": username, "role": role, "name": name or username.title(), "uid": uid}


def main(folder: Path) -> None:
    import salt.config  # noqa: PLC0415 - takes a second, which the tests need not wait for
    import salt.loader  # noqa: PLC0415

    asked = json.load(sys.stdin)
    module = load("modules", "classhub_roster")
    module.LEDGER = str(folder / "state/uids.json")
    module.HOMES, module.NAMES = str(folder / "home"), str(folder / "home/.nss")
    module.ARCHIVE = str(folder / "home/.archive")
    roster = {"first_uid": 40000, "groups": GROUPS, "drops": 5}
    module.__pillar__ = {"classhub": {"people": asked["people"], "roster": roster, "faults": []}}
    module.__utils__ = {"classhub_roster.assign": load("utils", "classhub_roster").assign}
    there_is_no_swarm = {"classhub_swarm.stop": lambda name: None}
    opts = salt.config.minion_config(None)
    opts["grains"] = {"kernel": "Linux", "os_family": "Debian"}  # which modules of Salt's to load
    module.__salt__ = ChainMap(there_is_no_swarm, salt.loader.minion_mods(opts))
    started = time.monotonic()
    table = module.apply(asked["drops"])
    seconds = time.monotonic() - started
    plan = module.plan()
    answer = {"table": table, "left": plan["people"] | plan["left"], "seconds": seconds}
    (folder / "answer.json").write_text(json.dumps(answer))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
