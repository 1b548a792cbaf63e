"""Many small files on the class's NFS with other mount and export options, beside the class's own.

python -m bench.nfs [FILES [ROUNDS]]    as root; FILES (500) small files, ROUNDS (3) of all option sets in turn

On virtual machines that are emulated: seconds are those of a slow machine, and the ratios are what counts.
"""

import os
import statistics
import sys

from tests.support import vm_class
from tests.support.vm import Machine

FOLDER = "/home/bench"
MOUNTED = "/run/bench"
# what a clone, a build and a look at it do: directories, files of some KB, names, contents; then all of it goes
WORK = """
import os, sys, time
top, count = sys.argv[1], int(sys.argv[2])
data = b"x" * 2000
paths = [f"{top}/d{number % (count // 20 or 1)}/f{number}" for number in range(count)]
def create():
    os.makedirs(top)
    for folder in sorted({os.path.dirname(path) for path in paths}):
        os.mkdir(folder)
    for path in paths:
        with open(path, "wb") as file:
            file.write(data)
def look():
    for folder in os.scandir(top):
        for entry in os.scandir(folder):
            entry.stat()
def read():
    for path in paths:
        with open(path, "rb") as file:
            file.read()
def remove():
    for path in paths:
        os.unlink(path)
    for folder in sorted({os.path.dirname(path) for path in paths}):
        os.rmdir(folder)
    os.rmdir(top)
for step in sys.argv[3:]:
    begun = time.monotonic()
    {"create": create, "look": look, "read": read, "remove": remove}[step]()
    print(time.monotonic() - begun)
"""
STEPS = ["create", "look", "read", "read again", "remove"]


def option_sets(own: list[str]) -> dict[str, tuple[list[str], str]]:
    """Name -> mount options, and how the hub exports."""
    timed = [option for option in own if option != "noatime"]
    return {
        "the class's": (own, "sync"),
        "with atime": (timed, "sync"),
        "nconnect=4": ([*own, "nconnect=4"], "sync"),
        "actimeo=60": ([*own, "actimeo=60"], "sync"),
        "nocto": ([*own, "nocto"], "sync"),
        "lookupcache=positive": ([*own, "lookupcache=positive"], "sync"),
        "rsize=wsize=64 KB": ([*own, "rsize=65536", "wsize=65536"], "sync"),
        "vers=4.1": ([*(option for option in own if option != "vers=4.2"), "vers=4.1"], "sync"),
        "exported async": (own, "async"),
    }


def measured(class_: vm_class.Class, options: list[str], export: str, files: int) -> list[float]:
    """Seconds of each step, every one that reads with nothing in the node's memory but the last."""
    node, hub = class_.nodes[0], class_.hub
    line = f"{FOLDER} {node.address}(rw,{export},root_squash,no_subtree_check,fsid=77)"
    hub.write("/etc/exports.d/bench.exports", f"{line}\n")
    hub.run("exportfs", "-ra")
    seconds = step(node, hub, options, files, "create")
    seconds += step(node, hub, options, files, "look")
    seconds += step(node, hub, options, files, "read", "read")
    return seconds + step(node, hub, options, files, "remove")


def step(node: Machine, hub: Machine, options: list[str], files: int, *steps: str) -> list[float]:
    """Seconds of steps on a mount made anew."""
    node.sh(
        f"mkdir -p {MOUNTED} && mount -t nfs4 -o {','.join(options)} {hub.address}:{FOLDER} {MOUNTED}"
    )
    try:
        uid = ["setpriv", "--reuid", "20001", "--regid", "20001", "--clear-groups", "--"]
        argv = [*uid, "python3", "-c", WORK, f"{MOUNTED}/tree", str(files), *steps]
        said = node.run(*argv, timeout=1800)
    finally:
        node.sh(f"umount {MOUNTED}")
    return [float(line) for line in said.splitlines()]


def show(rounds: dict[str, list[list[float]]]) -> None:
    """A table: the class's medians in seconds, and for each other set the median of the ratios, round by round."""
    own, *others = rounds
    print(f"{'':24}" + "".join(f"{name:>12}" for name in [*STEPS, "all"]))

    def row(name: str, values: list[list[float]], unit: str) -> None:
        columns = [statistics.median(column) for column in zip(*values, strict=True)]
        print(f"{name:24}" + "".join(f"{value:>10.2f}{unit:2}" for value in columns))

    row(own, [[*each, sum(each)] for each in rounds[own]], " s")
    for name in others:
        pairs = zip(rounds[name], rounds[own], strict=True)
        row(
            name,
            [[*(a / b for a, b in zip(x, y, strict=True)), sum(x) / sum(y)] for x, y in pairs],
            "",
        )


def compare(class_: vm_class.Class, files: int, count: int) -> None:
    """Measure all option sets in turn on a class with its states, which loses a node's mount; and show what came of it."""
    # mounts of one server share its connection, and nconnect
    class_.nodes[0].run("umount", "/home")
    class_.hub.sh(f"install -d -m 0700 -o 20001 -g 20001 {FOLDER}")
    said = class_.ask(["node1"], "pillar.raw")["node1"]
    sets = option_sets(said["classhub"]["storage"]["nfs_options"])
    rounds: dict[str, list[list[float]]] = {name: [] for name in sets}
    for _ in range(count):
        for name, (options, export) in sets.items():
            rounds[name].append(measured(class_, options, export, files))
    kernel = class_.hub.run("uname", "-r")
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; emulated, Linux {kernel}")
    print(
        f"{files} files of 2,000 bytes, {count} rounds; ratios of time against the class's options"
    )
    show(rounds)


def main(files: int = 500, count: int = 3) -> None:
    with vm_class.running() as class_:
        failed = [
            each
            for names in (["hub"], ["node1"])
            for said in class_.apply(names).values()
            for each in vm_class.failures(said)
        ]
        if failed:
            sys.exit("\n".join(failed))
        compare(class_, files, count)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
