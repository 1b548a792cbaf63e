"""The Docker Engine of this host, and whose servers run on it."""

import json
import shutil

from salt.exceptions import CommandExecutionError

__virtualname__ = "classhub_engine"
_DOCKER = "docker"


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
