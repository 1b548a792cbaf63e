"""The Docker Engine of this host, and whose servers run on it."""

import json
import shutil

from salt.exceptions import CommandExecutionError

__virtualname__ = "classhub_engine"
_DOCKER = "docker"
PACKAGES = ("docker.io", "containerd", "runc")  # whose upgrade needs a restart of the engine
_INSTALLED = "/var/lib/dpkg/info/docker.io.list"  # dpkg writes it anew with each version


def __virtual__():
    # the engine may be installed by the very run that loads this module
    return __virtualname__


def docker(*args: str) -> str:
    """Standard output of one docker command on this host's engine.

    Args:
        args: the words after ``docker``.

    Raises:
        CommandExecutionError: docker is not installed, or the command failed.

    CLI Example:

    .. code-block:: bash

        salt node1 classhub_engine.docker ps
    """
    if not shutil.which(_DOCKER):
        raise CommandExecutionError(
            "docker is not installed on this host; apply the state `engine`"
        )
    answer = __salt__["cmd.run_all"](
        [_DOCKER, *args], python_shell=False, ignore_retcode=True, output_loglevel="quiet"
    )
    if answer["retcode"]:
        raise CommandExecutionError(
            f"docker {args[0]}: {answer['stderr'].strip() or answer['stdout'].strip()}"
        )
    return answer["stdout"]


def servers() -> list[str]:
    """Names of the students whose servers run on this host.

    Raises:
        CommandExecutionError: the engine does not answer.

    CLI Example:

    .. code-block:: bash

        salt 'node*' classhub_engine.servers
    """
    lines = docker(
        "ps", "--filter", "label=classhub.user", "--format", '{{json (.Label "classhub.user")}}'
    )
    return sorted(json.loads(line) for line in lines.splitlines() if line)


def upgrades() -> dict[str, dict[str, str]]:
    """Packages of the engine that are to be upgraded; looks at Debian's archive first.

    Debian has a newer version, or the newest is installed and the engine still runs with the one before.

    Returns:
        package -> ``installed`` and ``newest``.

    Raises:
        CommandExecutionError: the engine is not installed, or does not run.

    CLI Example:

    .. code-block:: bash

        salt 'node*' classhub_engine.upgrades
    """
    installed = __salt__["pkg.version"](*PACKAGES)
    engine = installed[PACKAGES[0]]
    if not engine:
        raise CommandExecutionError(
            "docker is not installed on this host; apply the state `engine`"
        )
    newest = __salt__["pkg.latest_version"](*PACKAGES, refresh=True)
    found = {
        name: {"installed": installed[name], "newest": version}
        for name, version in newest.items()
        if version and installed[name]
    }
    if __salt__["classhub_service.stale"](_DOCKER, [_INSTALLED]):
        return {PACKAGES[0]: {"installed": engine, "newest": engine}} | found
    return found


def upgrade() -> dict[str, dict[str, str]]:
    """Upgrade the engine and restart it: every container on this host ends. Not while a student's server runs.

    Debian's packages leave the engine that runs as it is. One that was upgraded and not restarted is made up for.

    Returns:
        package -> ``old`` and ``new``.

    Raises:
        CommandExecutionError: servers run here, or apt failed; what was held is held as before.

    CLI Example:

    .. code-block:: bash

        salt node1 classhub_engine.upgrade
    """
    _refuse_under_servers()
    found = upgrades()
    if not found:
        return {}
    wanted = [
        {name: versions["newest"]}
        for name, versions in found.items()
        if versions["newest"] != versions["installed"]
    ]
    changes = __salt__["pkg.install"](pkgs=wanted, update_holds=True) if wanted else {}
    _refuse_under_servers()  # one may have come while apt was at work
    __salt__["service.restart"](_DOCKER)
    return changes


def _refuse_under_servers() -> None:
    if running := servers():
        raise CommandExecutionError(
            f"servers of {', '.join(running)} run here, and would end; use salt-run classhub.upgrade_engines"
        )
