"""Run the grading runner as it runs on a node, but for the container's limits: first process, own uid, one directory."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from nbformat import v4

from tests.support.loading import ROOT

RUNNER = ROOT / "salt" / "hub" / "package" / "classhub" / "grading" / "runner.py"
UID = 64321
CAPABILITIES = "+net_admin,+setuid,+setgid,+setpcap"  # of the container: grading/nodes.py
JOB = {"timeout": 3, "seconds": 60, "output": 1_000_000}


def notebook(*sources: str, kernel: str = "python3") -> dict[str, Any]:
    """A notebook of code cells."""
    spec = {"name": kernel, "display_name": kernel, "language": "python"}
    return v4.new_notebook(
        cells=[v4.new_code_cell(source) for source in sources], metadata={"kernelspec": spec}
    )


def contained(top: Path, runner: Path, work: Path) -> subprocess.CompletedProcess:
    """Run the runner with the job, result and files below `top`, from the working directory `work`."""
    script = (
        "ip link set lo up && ip link add eth0 type veth peer name eth1 && ip link set eth0 up && "
        'exec setpriv --bounding-set="-all,$0" --inh-caps=-all "$@"'
    )
    command = ["prlimit", "--nproc=300", "unshare", "--pid", "--fork", "--mount-proc", "--net"]
    command += ["sh", "-c", script, CAPABILITIES, sys.executable, str(runner)]
    names = ("job", "result", "files")
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(work), "LANG": "C.UTF-8"}
    return subprocess.run(
        [*command, *(str(top / name) for name in names)],
        cwd=work,
        env=environment | {"CLASSHUB_TOP": str(top)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


class Run:
    """What came of a job.

    Attributes:
        result: the runner's, by notebook
        digest: of the job, as the runner says it
        job: what is left in the job's file
        given: the sha256 of what was in it
        words: on the standard error
    """

    def __init__(self, notebooks: dict[str, dict], files: dict[str, bytes], **job: Any) -> None:
        top = Path(tempfile.mkdtemp(prefix="run-"))
        top.chmod(0o711)
        try:
            self._run(top, {**JOB, **job, "notebooks": notebooks}, files)
        finally:
            shutil.rmtree(top)

    def _run(self, top: Path, job: dict, files: dict[str, bytes]) -> None:
        self.given = hashlib.sha256(json.dumps(job).encode()).hexdigest()
        for name, text in (("job", json.dumps(job)), ("result", "")):
            (top / name).write_text(text)
            (top / name).chmod(0o600)
            os.chown(top / name, UID, UID)
        for name, data in files.items():
            (top / "files" / name).parent.mkdir(parents=True, exist_ok=True)
            (top / "files" / name).write_bytes(data)
        (top / "files").mkdir(exist_ok=True)
        work = top / "work"
        work.mkdir()
        os.chown(work, UID, UID)
        done = contained(top, RUNNER, work)
        self.words = done.stderr
        assert done.returncode == 0, self.words
        answer = json.loads((top / "result").read_text())
        self.result, self.digest = answer["notebooks"], answer["digest"]
        self.job = (top / "job").read_text()

    def outputs(self, name: str = "a.ipynb") -> list[list[dict]]:
        """Outputs of each cell of a notebook."""
        return [cell["outputs"] for cell in self.result[name]["cells"].values()]

    def errors(self, name: str = "a.ipynb") -> list[str]:
        """The last error of each cell; empty for none."""
        named = [[out["ename"] for out in outs if "ename" in out] for outs in self.outputs(name)]
        return [names[-1] if names else "" for names in named]

    def text(self, place: int, name: str = "a.ipynb") -> str:
        """What a cell printed."""
        return "".join(out.get("text", "") for out in self.outputs(name)[place])


def run(*sources: str, files: dict[str, bytes] | None = None, **job: Any) -> Run:
    """Run a notebook of these code cells."""
    return Run({"a.ipynb": notebook(*sources)}, files or {}, **job)
