"""The same small course with stock nbgrader: one inbound directory for all, and nbgrader's own `collect`."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.submissions import Course

NBGRADER = Path(sys.executable).parent / "nbgrader"
CONFIG = """c = get_config()
c.CourseDirectory.course_id = "course101"
c.CourseDirectory.root = {course!r}
c.Exchange.root = {exchange!r}
"""


class Stock(Course):
    """A course whose exchange is as nbgrader's own `release_assignment` and `release_feedback` make it."""

    def lay_out(self) -> None:
        # nbgrader/exchange/default/release_assignment.py and release_feedback.py: ensure_directory
        modes = {"": 0o755, "outbound": 0o755, "inbound": 0o2733, "feedback": 0o711}
        for name, mode in modes.items():
            path = self.settings.course_exchange / name
            path.mkdir(parents=True)
            path.chmod(mode)
        self.settings.exchange.chmod(0o777)
        course, root = self.settings.course_dir, self.settings.exchange
        text = CONFIG.format(course=str(course), exchange=str(root))
        (course / "nbgrader_config.py").write_text(text)

    def inbound(self, user: str) -> Path:
        return self.settings.course_exchange / "inbound"

    def collect(self, gradebook: Path | None = None) -> subprocess.CompletedProcess:
        """Run nbgrader's `collect` as it comes.

        Args:
            gradebook: an empty one; nbgrader takes seconds to make it.
        """
        if gradebook:
            shutil.copy(gradebook, self.settings.course_dir / "gradebook.db")
        return subprocess.run(
            [NBGRADER, "collect", "ps1"],
            cwd=self.settings.course_dir,
            env=os.environ
            | {
                "HOME": str(self.top / "disk"),  # no settings of somebody's
                "PATH": f"{NBGRADER.parent}:{os.environ['PATH']}",  # it runs alembic
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
