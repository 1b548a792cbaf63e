"""The Docker Engine of this host, and whose servers run on it."""

import json
import shutil

from salt.exceptions import CommandExecutionError

__virtualname__ = "classhub_engine"
_DOCKER = "docker"
PACKAGES = ("docker.io", "containerd", "runc")  # whose upgrade restarts the engine


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
    """Packages of the engine that Debian has newer versions of; looks at the archive first.

    Returns:
        package -> ``installed`` and ``newest``.

    Raises:
        CommandExecutionError: the engine is not installed.

    CLI Example:

    .. code-block:: bash

        salt 'node*' classhub_engine.upgrades
    """
    installed = __salt__["pkg.version"](*PACKAGES)
    if not installed[PACKAGES[0]]:
        raise CommandExecutionError(
            "docker is not installed on this host; apply the state `engine`"
        )
    newest = __salt__["pkg.latest_version"](*PACKAGES, refresh=True)
    return {
        name: {"installed": installed[name], "newest": version}
        for name, version in newest.items()
        if version and installed[name]
    }


def upgrade() -> dict[str, dict[str, str]]:
    """Upgrade the engine, which restarts it: every container on this host ends. Not while a student's server runs.

    Returns:
        package -> ``old`` and ``new``.

    Raises:
        CommandExecutionError: servers run here, or apt failed; what was held is held as before.

    CLI Example:

    .. code-block:: bash

        salt node1 classhub_engine.upgrade
    """
    if running := servers():
        raise CommandExecutionError(
            f"servers of {', '.join(running)} run here, and would end; use salt-run classhub.upgrade_engines"
        )
    wanted = [{name: found["newest"]} for name, found in upgrades().items()]
    return __salt__["pkg.install"](pkgs=wanted, update_holds=True) if wanted else {}
