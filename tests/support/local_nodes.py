"""Nodes that are this machine: each submission in namespaces of its own, as the runner's tests have it, without Swarm."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from tests.support import submissions  # noqa: F401 - puts the package on the path
from tests.support.running import contained

from classhub.grading.nodes import Finished  # isort: skip


class LocalNodes:
    """In place of grading.nodes.Nodes.

    Attributes:
        rounds: submissions of each round
    """

    def __init__(self, workers: int = 2) -> None:
        self.workers = workers
        self.rounds: list[int] = []

    def clear(self) -> None:
        pass

    def run(self, spool: Path, slots: int, runner: Path) -> Iterator[Finished]:
        self.rounds.append(slots)
        with ThreadPoolExecutor(self.workers) as pool:
            futures = {
                pool.submit(self.execute, spool / str(slot), runner): slot
                for slot in range(1, slots + 1)
            }
            for future in as_completed(futures):
                code, words = future.result()
                yield Finished(futures[future], True, f"exit code {code} {words}")

    def execute(self, slot: Path, runner: Path) -> tuple[int, str]:
        """Run one submission; its exit code and last words."""
        work = slot.parent / f"work-{slot.name}"
        work.mkdir()
        work.chmod(0o1777)
        done = contained(slot, runner / "runner.py", work)
        shutil.rmtree(work)
        return done.returncode, done.stderr[-300:]
