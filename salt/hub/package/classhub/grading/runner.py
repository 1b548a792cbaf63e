"""Executes the notebooks of one submission: the first process of a container that holds nothing else.

It runs in the course's image, alone: `python runner.py <job> <result> <files>`. Started as root with the few
capabilities that this takes, it closes the container's network and becomes the user whose the job is, for ever, before
it reads anything. The job is emptied before any code of the submission runs, as it has the hidden tests; the result is
written when nothing of the submission runs any more. Both files are there already, as the container can make none
beside them.

    job: {"timeout": seconds a cell, "seconds": for all, "output": characters for all, "notebooks": {name: notebook},
        "echoes": {name: index of the first of the cells behind the notebook's own, which have a time of their own}}
    result: {"digest": sha256 of the job, "notebooks": {name: {
        "cells": {index: {"outputs": [], "execution_count": n}}, "language_info": {}, "widgets": {}}}}

A student's code shares the container's uid, not its memory: the runner cannot be traced, and it is process 1, which
no signal from inside reaches. Kernels of Python are forked from a process that never ran a student's code, once for
each notebook, which saves most of their start.
"""

import asyncio
import contextlib
import ctypes
import fcntl
import gc
import hashlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any

# linux/prctl.h, linux/sockios.h, linux/if.h
PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 4, 24, 38
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
CAPABILITIES = 64  # as many as there can be
GRACE = 5  # seconds in which an interrupted kernel answers again
ECHOES = 60  # seconds for the echoes of all notebooks; who has none left has lost nothing
ENDING = 60  # seconds in which processes end that are killed; hundreds share a part of a core
MESSAGE = 64 << 20  # bytes of one message of a kernel
COST = 500  # characters that a message counts for, beside its own: each is work for whoever reads the result
# nbgrader/preprocessors/execute.py: error_on_timeout
TIMEOUT = {
    "ename": "CellTimeoutError",
    "evalue": "",
    "traceback": ["\x1b[0;31mCellTimeoutError\x1b[0m: No reply from kernel before timeout"],
}
# what a kernel of Python loads before its first cell and at its first error, and no name of it is a file's that could
# lie beside a notebook
LOADED = (
    "ipykernel.debugger", "ipykernel.ipkernel", "ipykernel.kernelapp", "ipykernel.zmqshell", "IPython.core.completer",
    "IPython.core.completerlib", "IPython.core.debugger", "IPython.core.logger", "IPython.core.magics",
    "IPython.core.oinspect", "IPython.extensions.storemagic", "pygments.formatters.terminal256", "pygments.styles",
    "sqlite3", "stack_data", "tornado.platform.asyncio",
)  # fmt: skip
# what these would load and can do without: a debugger, and the formats of values that no notebook has
SPARED = ("debugpy", "isoduration", "rfc3986_validator")
# what a kernel does not load until its first error: it may be a file beside the notebook
HIDDEN = ("fractions",)
UNSEEN = "ERROR: An error occurred while showtraceback was disabled"


def prctl(option: int, value: int) -> None:
    """prctl(2)."""
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl {option}")


def dumpable(whether: bool) -> None:
    """Whether processes of the same uid may trace this one and read its memory."""
    prctl(PR_SET_DUMPABLE, int(whether))


# -- the container


def close_network() -> None:
    """Take every interface down but the loopback, which kernels need. Swarm knows no service without a network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        for _, name in socket.if_nameindex():
            if name == "lo":
                continue
            request = fcntl.ioctl(channel, SIOCGIFFLAGS, struct.pack("16sH14x", name.encode(), 0))
            flags = struct.unpack_from("H", request, 16)[0]
            down = struct.pack("16sH14x", name.encode(), flags & ~IFF_UP)
            fcntl.ioctl(channel, SIOCSIFFLAGS, down)


def become(uid: int) -> None:
    """Be this user for ever, without any capability."""
    if not uid:
        raise SystemExit("the job is root's: nothing of a submission runs as root")
    for capability in range(CAPABILITIES):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError:  # the kernel has no more
            break
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    prctl(PR_SET_NO_NEW_PRIVS, 1)


# -- kernels


def load() -> set[str]:
    """Load what kernels and the runner need, once for both; the names of the modules that are the runner's alone."""
    gc.disable()  # there is no garbage: what is loaded stays
    sys.modules |= dict.fromkeys(SPARED)
    for name in LOADED:
        importlib.import_module(name)
    before = set(sys.modules)
    import nbclient  # noqa: F401
    import nbformat.v4.nbbase

    # the hub lets nothing else pass: it need not be checked here, and to compile the schema takes as long as a cell
    nbformat.v4.nbbase.validate = lambda *_, **__: None
    for name in (*SPARED, *HIDDEN):
        del sys.modules[name]
    gc.freeze()
    gc.enable()
    return set(sys.modules) - before


def serve_forks(requests: socket.socket, foreign: set[str]) -> None:
    """Fork a kernel for each request, until the other side closes. Has no threads, and no data of a submission.

    Args:
        requests: to the runner
        foreign: modules that no kernel has loaded
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for kernels
    while request := requests.recv(1 << 16):
        process = os.fork()
        if not process:
            requests.close()
            for name in foreign:
                del sys.modules[name]
            be_kernel(**json.loads(request))
        requests.send(str(process).encode())
    os._exit(0)


def be_kernel(arguments: list[str], cwd: str, env: dict[str, str]) -> None:
    """Become a kernel, as `python -m ipykernel_launcher <arguments>` would be one."""
    from ipykernel.kernelapp import IPKernelApp

    try:
        os.setsid()
        os.nice(19)  # behind the runner, however many they become: one can only become nicer
        dumpable(True)
        Path("/proc/self/oom_score_adj").write_text("1000")  # before the runner
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.clear()
        os.environ.update(env)
        os.chdir(cwd)
        launcher = importlib.util.find_spec("ipykernel_launcher").origin
        sys.argv = [launcher, *arguments]
        del sys.path[0]  # where this file is; IPython puts the working directory there
        sys.modules["random"].seed()
        IPKernelApp.launch_instance(arguments)
    finally:
        os._exit(0)


class Forked:
    """A process that somebody else forked, as far as a provisioner needs subprocess.Popen."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def poll(self) -> int | None:
        reap()  # it may be this process's child by now
        return 0 if is_zombie(self.pid) else None

    def wait(self) -> int:
        return 0

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


def use_forks(requests: socket.socket) -> None:
    """Have Jupyter's kernel manager ask for forks of kernels of Python; others start as ever."""
    from jupyter_client.provisioning import KernelProvisionerFactory, LocalProvisioner

    class ForkProvisioner(LocalProvisioner):
        async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> dict:
            if "ipykernel_launcher" not in cmd:
                return await super().launch_kernel(cmd, **kwargs)
            arguments = cmd[cmd.index("ipykernel_launcher") + 1 :]
            words = {"arguments": arguments, "cwd": kwargs["cwd"], "env": kwargs["env"]}
            requests.send(json.dumps(words).encode())
            self.pid = self.pgid = int(requests.recv(64))
            self.process, self.cwd = Forked(self.pid), kwargs["cwd"]
            return self.connection_info

        @classmethod
        def load(cls) -> type:
            return cls  # as an entry point does

    KernelProvisionerFactory.instance().provisioners["local-provisioner"] = ForkProvisioner


# -- notebooks


class Stopped(Exception):
    """The notebook cannot go on: the cells that are left get this as their error."""


def failure(name: str, words: str) -> dict:
    """An output that tells of an error."""
    return {
        "output_type": "error",
        "ename": name,
        "evalue": words,
        "traceback": [f"{name}: {words}"],
    }


def make_client(notebook, job: dict, cwd: str):
    """nbclient's client, with nbgrader's settings and a limit of output."""
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient

    class Client(NotebookClient):
        left = job["output"]

        def process_message(self, msg, cell, cell_index):
            if msg["msg_type"] != "status":
                self.left -= len(json.dumps(msg["content"])) + COST
                if self.left < 0:
                    return None
            return super().process_message(msg, cell, cell_index)

    return Client(
        notebook,
        timeout=job["timeout"],
        allow_errors=True,
        interrupt_on_timeout=True,
        raise_on_iopub_timeout=True,
        error_on_timeout=TIMEOUT,
        on_cell_executed=note_error,
        kernel_manager_class=AsyncKernelManager,
        resources={"metadata": {"path": cwd}},
        shutdown_kernel="immediate",
        record_timing=False,
        skip_cells_with_tag="",
    )


def note_error(cell, cell_index, execute_reply) -> None:
    """See that an error is among the outputs: nbgrader/preprocessors/execute.py: on_cell_executed."""
    from nbformat.notebooknode import from_dict

    said = execute_reply["content"]
    if said["status"] != "error":
        return
    if not any(out.output_type == "error" and out.ename == said["ename"] for out in cell.outputs):
        error = {key: said[key] for key in ("ename", "evalue", "traceback")}
        error["traceback"] = error["traceback"] or [UNSEEN]
        cell.outputs.append(from_dict({"output_type": "error", **error}))


async def execute(
    notebook, job: dict, cwd: str, until: float, echoes: int, spare: float
) -> tuple[dict, float]:
    """Execute a notebook.

    Args:
        until: when it must have ended, by the loop's clock
        echoes: index of the first echo
        spare: seconds that echoes may take beyond that

    Returns:
        what came of it, and the seconds that its echoes took.
    """
    from nbformat.notebooknode import from_dict

    client = make_client(notebook, job, cwd)
    done, now = 0, asyncio.get_running_loop().time
    began = until
    try:
        async with asyncio.timeout_at(until) as limit, client.async_setup_kernel(cwd=cwd):
            for number in (signal.SIGINT, signal.SIGTERM):  # nbclient would end at them
                asyncio.get_running_loop().remove_signal_handler(number)
                signal.signal(number, signal.SIG_IGN)
            reply = await client.async_wait_for_reply(client.kc.kernel_info())
            notebook.metadata["language_info"] = reply["content"]["language_info"]
            for index, cell in enumerate(notebook.cells):
                if index == echoes:
                    began, until = now(), now() + spare
                    limit.reschedule(until)
                await execute_cell(client, cell, index)
                done = index + 1
            client.set_widgets_metadata()
        stop = None
    except Stopped as error:
        stop = failure(*error.args)
    except Exception as error:  # of a kernel that a student's code has in its hands
        stop = failure("GradingError", f"{type(error).__name__}: {error}"[:2000])
    if stop and now() >= until:  # whatever that looked like to nbclient
        stop = failure("GradingTimeout", f"the submission took longer than {job['seconds']} s")
    for cell in notebook.cells[done:]:
        if stop and cell.cell_type == "code":
            cell.outputs = [*cell.get("outputs", []), from_dict(stop)]
    return told(notebook), max(0.0, now() - began)


async def execute_cell(client, cell, index: int) -> None:
    """Execute a cell, and see that the kernel can go on.

    Raises:
        Stopped: it cannot.
    """
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from nbformat.notebooknode import from_dict

    count = client.code_cells_executed + 1
    try:
        await client.async_execute_cell(cell, index, execution_count=count)
    except DeadKernelError:
        raise Stopped(
            "DeadKernelError", "the kernel died: out of memory, or ended by the code"
        ) from None
    except CellTimeoutError as error:
        cell.outputs.append(from_dict(failure("CellTimeoutError", str(error)[:2000])))
    if client.left < 0:
        raise Stopped("OutputError", "the submission has more output than is allowed")
    if any(out.get("ename") == "CellTimeoutError" for out in cell.get("outputs", [])):
        await answered(client)


async def answered(client) -> None:
    """Wait until an interrupted kernel answers.

    Raises:
        Stopped: it does not.
    """
    try:
        async with asyncio.timeout(GRACE):
            await client.async_wait_for_reply(client.kc.kernel_info())
    except TimeoutError:
        raise Stopped(
            "UnresponsiveKernelError", "the code did not stop when it was interrupted"
        ) from None


def told(notebook) -> dict:
    """What is told of an executed notebook."""
    cells = {
        index: {"outputs": cell.outputs, "execution_count": cell.execution_count}
        for index, cell in enumerate(notebook.cells)
        if cell.cell_type == "code"
    }
    metadata = notebook.metadata
    return {
        "cells": cells,
        "language_info": metadata.get("language_info", {}),
        "widgets": metadata.get("widgets", {}),
    }


# -- the submission


def end_others(spared: set[int]) -> None:
    """End every other process of the container.

    Raises:
        SystemExit: they do not end; what they could write is not to be taken for a result.
    """
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGSTOP)  # all at once, so that none can fork away
    until = time.monotonic() + ENDING
    while time.monotonic() < until:
        found = {int(name) for name in os.listdir("/proc") if name.isdecimal()} - spared
        reap()
        left = [pid for pid in found if not is_zombie(pid)]
        if not left:
            return
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.01)
    raise SystemExit("the submission's processes do not end")


def is_zombie(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] in "ZX"


def reap() -> None:
    """Forget processes that ended, and whose parents did."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def copy(source: str, target: str) -> None:
    """Copy the files below a directory, so that they belong to whoever runs this."""
    for folder, folders, names in os.walk(source):
        here = os.path.join(target, os.path.relpath(folder, source))
        for name in folders:
            os.mkdir(os.path.join(here, name))
        for name in names:
            shutil.copyfile(os.path.join(folder, name), os.path.join(here, name))


def run(job: dict, cwd: str, spared: set[int]) -> dict:
    """Execute all notebooks of a job, one after the other; what came of each."""
    import nbformat
    import zmq

    zmq.Context.instance().setsockopt(zmq.MAXMSGSIZE, MESSAGE)
    results, spare = {}, ECHOES
    end = time.monotonic() + job["seconds"]
    for name, book in sorted(job["notebooks"].items()):
        notebook = nbformat.from_dict(book)
        echoes = job.get("echoes", {}).get(name, len(notebook.cells))
        results[name], took = asyncio.run(execute(notebook, job, cwd, end, echoes, spare))
        end, spare = end + took, max(0.0, spare - took)
        end_others(spared)
        for process in spared - {1}:  # as all are stopped
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)
    return results


def main(job_file: str, result_file: str, files: str) -> None:
    """Run a job."""
    if os.getpid() != 1:
        raise SystemExit("this ends every other process: it must be the first of a container")
    close_network()
    become(os.stat(job_file).st_uid)
    dumpable(False)
    foreign = load()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    forker = os.fork()
    if not forker:
        ours.close()
        serve_forks(theirs, foreign)
    theirs.close()
    with open(job_file, "rb+") as file:
        data = file.read()
        file.truncate(0)
    job = json.loads(data)
    cwd = os.getcwd()
    copy(files, cwd)
    use_forks(ours)
    os.environ["NBGRADER_EXECUTION"] = "autograde"
    result = {
        "digest": hashlib.sha256(data).hexdigest(),
        "notebooks": run(job, cwd, {1, forker}),
    }
    end_others({1})
    with open(result_file, "w", encoding="utf-8", errors="replace") as file:
        json.dump(result, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
