"""The runner of a submission: what a normal kernel gives, and nothing to gain for code that is up to something."""

import json
import os
import re
import time

import nbformat
import pytest
from nbclient import NotebookClient

from tests.support.running import UID, Run, notebook, run

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs namespaces and uids")

VARIED = (
    "import sys\nx = 1",
    "print('out'); print('err', file=sys.stderr); x",
    "1 / 0",
    "from IPython.display import HTML, display\ndisplay(HTML('<b>ünïcödé 🎓</b>'))\n{'a': [1, 2, 3]}",
    "handle = display('first', display_id='one')",
    "handle.update('second')",
    "from IPython.display import clear_output\nprint('gone')\nclear_output()\nprint('stays')",
    "import asyncio\nawait asyncio.sleep(0.01)\n'awaited'",
    "%%writefile helper.py\ndef twice(x):\n    return 2 * x",
    "from helper import twice\ntwice(21)",
    "open('data.csv').read()",
    "!echo from a shell",
    "import os\nos.system('echo from a process')",
    "input('name? ')",
    "def f(:",
    "import threading\nt = threading.Thread(target=lambda: print('from a thread'))\nt.start(); t.join()",
    "import random\nrandom.seed(4)\nrandom.random()",
    "import sys\nsys.exit(3)",
    "assert x == 1",
    "_",
    "",
    "import multiprocessing\nmultiprocessing.get_context('fork').Pool(2).map(abs, [-1, -2])",
    "os.environ['NBGRADER_EXECUTION']",
    "__name__, sys.argv[0], sys.path",
)
ADDRESS = re.compile(r"ipykernel_\d+/\d+\.py|0x[0-9a-f]+|\x1b\[[0-9;]*m")


def alike(outputs):
    """Outputs without what differs between any two runs."""
    return json.loads(ADDRESS.sub("", json.dumps(outputs).replace("\\u001b", "\x1b")))


def test_outputs_are_what_a_normal_kernel_gives(tmp_path, monkeypatch):
    ours = run(*VARIED, files={"data.csv": b"a,b\n1,2\n"})
    (tmp_path / "data.csv").write_text("a,b\n1,2\n")
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    monkeypatch.delenv("PYTEST_CURRENT_TEST")  # ipykernel would not see what processes print
    normal = nbformat.from_dict(notebook(*VARIED))
    NotebookClient(
        normal,
        allow_errors=True,
        record_timing=False,
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute()
    for place, cell in enumerate(normal.cells):
        assert alike(ours.outputs()[place]) == alike(cell.outputs), VARIED[place]
        assert (
            ours.result["a.ipynb"]["cells"][str(place)]["execution_count"] == cell.execution_count
        )
    assert ours.result["a.ipynb"]["language_info"] == normal.metadata["language_info"]


def test_two_notebooks_share_files_and_nothing_else():
    books = {
        "a.ipynb": notebook("x = 5\nopen('left.txt', 'w').write('there')"),
        "b.ipynb": notebook("open('left.txt').read()", "x"),
    }
    found = Run(books, {})
    assert found.outputs("b.ipynb")[0][0]["data"]["text/plain"] == "'there'"
    assert found.errors("b.ipynb")[1] == "NameError"


def test_two_kernels_have_different_randomness():
    books = {name: notebook("import random\nrandom.random()") for name in ("a.ipynb", "b.ipynb")}
    found = Run(books, {})
    assert found.outputs("a.ipynb") != found.outputs("b.ipynb")


# -- what costs a submission its own points, and ends


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("import os\nos._exit(3)", "DeadKernelError"),
        ("import os\nos.kill(os.getpid(), 9)", "DeadKernelError"),
        ("import ctypes\nctypes.string_at(0)", "DeadKernelError"),
        ("while True:\n    print('x' * 1000)", "OutputError"),
        ("print('x' * 2_000_000)", "OutputError"),
        ("import os\nos.kill(os.getppid(), 9)\nos._exit(0)", "DeadKernelError"),
        ("get_ipython().kernel.shell_stream.close()", "UnresponsiveKernelError"),
        (
            "import time\nwhile True:\n    try:\n        while True: time.sleep(1)\n    except BaseException: pass",
            "UnresponsiveKernelError",
        ),
    ],
)
def test_a_notebook_that_cannot_go_on_has_errors_in_all_cells_that_are_left(source, error):
    found = run("x = 1", source, "assert x == 1", "", "y = 2")
    errors = found.errors()
    assert errors[0] == ""
    assert set(errors[2:]) == {error}


def test_an_endless_loop_costs_its_cell_and_the_others_go_on():
    found = run("def f():\n    while True: pass", "f()", "1 + 1")
    assert found.errors()[1] in ("KeyboardInterrupt", "CellTimeoutError")
    assert found.outputs()[2][0]["data"]["text/plain"] == "2"


def test_the_submission_as_a_whole_has_a_limit():
    began = time.monotonic()
    found = run(*["import time\ntime.sleep(2)"] * 20, seconds=5)
    assert time.monotonic() - began < 20
    assert found.errors()[0] == ""
    assert set(found.errors()[5:]) == {"GradingTimeout"}


def test_echoes_have_a_time_of_their_own():
    """The cells behind a notebook's own cost the other notebooks nothing."""
    sleep = "import time\ntime.sleep(3)"
    books = {"a.ipynb": notebook("1", sleep, sleep), "b.ipynb": notebook(sleep, "2")}
    found = Run(books, {}, timeout=6, seconds=6, echoes={"a.ipynb": 1, "b.ipynb": 2})
    assert found.errors("a.ipynb") == ["", "", ""]
    assert found.errors("b.ipynb") == ["", ""]


def test_a_kernel_that_there_is_not_costs_the_notebook_alone():
    found = Run({"a.ipynb": notebook("1", kernel="none"), "b.ipynb": notebook("1")}, {})
    assert found.errors("a.ipynb") == ["GradingError"]
    assert found.errors("b.ipynb") == [""]


# -- attacks


def test_the_job_is_out_of_reach_once_code_runs():
    """It has the hidden tests."""
    found = run("import os\nprint(repr(open(os.environ['CLASSHUB_TOP'] + '/job').read()))")
    assert found.text(0) == "''\n"
    assert found.job == ""


def test_the_runner_cannot_be_read_or_ended():
    found = run(
        "import os, signal\nfor number in set(signal.Signals): os.kill(1, number)",
        "open('/proc/1/mem', 'rb')",
        "open('/proc/1/environ', 'rb')",
        "os.listdir('/proc/1/fd')",
        "open(f'/proc/{os.getppid()}/mem', 'rb')",
        "print('alive')",
    )
    assert found.errors() == ["", *["PermissionError"] * 4, ""]


def test_code_has_no_capability_and_no_network():
    found = run(
        "print([line.split()[1] for line in open('/proc/self/status') if line.startswith('Cap')])",
        "print(open('/proc/self/status').read().partition('NoNewPrivs:')[2].split()[0])",
        "import os\nprint(os.getresuid(), os.getgroups())",
        "!ip -oneline link show eth0",
        "!ip link set eth0 up",
        "import os\nos.setuid(0)",
    )
    assert set(eval(found.text(0))) == {"0" * 16}
    assert found.text(1) == "1\n"
    assert found.text(2) == f"({UID}, {UID}, {UID}) []\n"
    flags = found.text(3).partition("<")[2].partition(">")[0].split(",")
    assert "BROADCAST" in flags
    assert "UP" not in flags
    assert "not permitted" in found.text(4)
    assert found.errors()[5] == "PermissionError"


def test_the_result_says_which_job_it_is_of():
    found = run("1")
    assert found.digest == found.given


FORGER = """
import json, os, subprocess, sys
code = '''
import json, os, signal, time
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
while True:
    with open(os.environ["CLASSHUB_TOP"] + "/result", "w") as file: json.dump({"a.ipynb": "forged"}, file)
'''
for _ in range(5): subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
"""


def test_a_result_cannot_be_forged():
    found = run(FORGER, "import time\ntime.sleep(0.5)", "assert False")
    assert found.errors() == ["", "", "AssertionError"]


STOPPER = "import os, signal\nprint(os.getppid())\nos.kill(os.getppid(), signal.SIGSTOP)"


def test_what_makes_the_kernels_cannot_be_held_up():
    """Code of the same uid can stop it; the runner waited for ever, and its node was taken for broken."""
    found = Run({"a.ipynb": notebook(STOPPER), "b.ipynb": notebook("1")}, {})
    assert int(found.text(0)) > 1
    assert found.errors("b.ipynb") == [""]
    found = Run(
        {"a.ipynb": notebook(STOPPER.replace("STOP", "KILL")), "b.ipynb": notebook("1")}, {}
    )
    assert found.errors("b.ipynb") == ["GradingError"]


TINY = """
kernel = get_ipython().kernel
while True:
    content = {"data": {}, "metadata": {}}
    kernel.session.send(kernel.iopub_socket, "display_data", content, parent=kernel.get_parent())
"""


def test_empty_outputs_count_too():
    """Each is work for the hub: 36,000 took it half a minute."""
    found = run(TINY, "1")
    assert found.errors() == ["OutputError"] * 2
    assert len(found.outputs()[0]) < 2000


def test_a_process_left_behind_does_not_reach_the_next_notebook():
    left = "import subprocess\nsubprocess.Popen(['sleep', '1000'], start_new_session=True)"
    look = (
        "import os\n"
        "[n for n in os.listdir('/proc') if n.isdigit() and b'sleep' in open(f'/proc/{n}/cmdline', 'rb').read()]"
    )
    found = Run({"a.ipynb": notebook(left, look), "b.ipynb": notebook(look)}, {})
    assert found.outputs("a.ipynb")[1][0]["data"]["text/plain"] != "[]"
    assert found.outputs("b.ipynb")[0][0]["data"]["text/plain"] == "[]"


BOMB = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"


def test_a_fork_bomb_costs_its_submission_alone():
    """Whether its kernel still takes the interrupt, so that the cells after it go on, is chance."""
    found = run("x = 1", BOMB, "assert x == 2", seconds=10)
    assert found.errors()[0] == ""
    assert all(found.errors()[1:])
    assert run("1 + 1").errors() == [""]


POISON = "import os\nos.environ['POISONED'] = 'yes'\nopen('poisoned', 'w').close()\n"


def test_files_of_a_submission_do_not_run_by_their_names():
    names = (
        "sitecustomize.py",
        "usercustomize.py",
        "poison.pth",
        "random.py",
        "json.py",
        "zmq.py",
        "nbformat.py",
    )
    profile = {".ipython/profile_default/startup/00.py": POISON.encode()}
    config = {name: POISON.encode() for name in ("ipython_config.py", "jupyter_config.py")}
    found = run(
        "import os\nos.environ.get('POISONED')",
        files={name: POISON.encode() for name in names} | config,
    )
    assert found.outputs()[0] == []
    # a profile is what a student's own kernel would read, too, from its home; it is in the kernel alone
    assert run("1", files=profile).errors() == [""]
