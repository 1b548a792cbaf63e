"""The class's images: built from a recipe, kept in the class's store, loaded on the nodes, named by their ID.

The recipe is a hash of everything that determines an image (_pillar/classhub.py). An image carries it as a label, so
whether an image is the wanted one is seen without building anything.
"""

import json
import logging
import os
import subprocess
from pathlib import Path

from salt.exceptions import CommandExecutionError

__virtualname__ = "classhub_image"
_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
_LABEL = "classhub.recipe"
_LOG = Path("/var/log/classhub/image-build.log")
_STUDENT = "student"
_TAIL = 15

log = logging.getLogger(__name__)


def __virtual__():
    # the engine may be installed by the very run that loads this module
    return __virtualname__


def _docker(*args: str) -> str:
    return __salt__["classhub_engine.docker"](*args)


def _archive(name: str, recipe: str, store: str) -> Path:
    return __utils__["classhub_image.archive"](store, name, recipe)


def reference(name: str, recipe: str) -> str:
    """The local tag of an image.

    CLI Example:

    .. code-block:: bash

        salt hub classhub_image.reference student 0123456789abcdef
    """
    return f"classhub/{name}:{recipe}"


def inspect(image: str) -> dict:
    """What the engine has under a tag, an ID or a digest.

    Args:
        image: the tag, ID or digest.

    Returns:
        ``id``, ``recipe`` (empty for images that classhub did not build) and ``size`` in bytes; empty when there is
        no such image.

    Raises:
        CommandExecutionError: the engine does not answer.

    CLI Example:

    .. code-block:: bash

        salt node1 classhub_image.inspect classhub/student:0123456789abcdef
    """
    try:
        answer = json.loads(_docker("image", "inspect", image))[0]
    except CommandExecutionError as error:
        if "no such image" in str(error).lower():
            return {}
        raise
    labels = answer["Config"].get("Labels") or {}
    return {"id": answer["Id"], "recipe": labels.get(_LABEL, ""), "size": answer["Size"]}


def build(
    name: str,
    context: str,
    recipe: str,
    base: str,
    base_archive: str = "",
    build_args: dict[str, str] | None = None,
) -> dict:
    """Build an image; the output goes to /var/log/classhub/image-build.log.

    Args:
        name: name of the image.
        context: directory with the Dockerfile and what it copies.
        recipe: the recipe, kept as the image's label and tag.
        base: image to build on, given to the Dockerfile as ``BASE``; pulled when it is not here.
        base_archive: tar of a root filesystem from which ``base`` is imported when it is not here.
        build_args: further arguments of the Dockerfile.

    Returns:
        the image, as `inspect` describes it.

    Raises:
        CommandExecutionError: the build failed; with the last lines of its output.

    CLI Example:

    .. code-block:: bash

        salt hub classhub_image.build student /var/lib/classhub/image 0123456789abcdef debian:bookworm-slim
    """
    if base_archive and not inspect(base):
        _docker("import", base_archive, base)
    tag = reference(name, recipe)
    # the host's network: the addresses of docker0 may have no way out on a campus
    argv = [
        "docker",
        "build",
        "--progress",
        "plain",
        "--network",
        "host",
        "--secret",
        f"id=ca,src={_AUTHORITIES}",
    ]
    argv += ["--label", f"{_LABEL}={recipe}", "--tag", tag]
    for key, value in sorted(({"BASE": base} | (build_args or {})).items()):
        argv += ["--build-arg", f"{key}={value}"]
    log.info("building %s; see %s", tag, _LOG)
    if _run_logged([*argv, context]):
        lines = _LOG.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL:]
        raise CommandExecutionError(
            f"building {tag} failed; the end of {_LOG}:\n" + "\n".join(lines)
        )
    return inspect(tag)


def _run_logged(argv: list[str]) -> int:
    """The exit status of ``argv``, whose output replaces the build log while it runs."""
    _LOG.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with _LOG.open("wb") as stream:
        environment = os.environ | {"DOCKER_BUILDKIT": "1"}
        return subprocess.run(
            argv,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode


def archived(name: str, recipe: str, store: str) -> dict:
    """The note about an image's archive: ``recipe``, ``id``, ``size``; empty unless the archive is whole.

    Args:
        name: name of the image.
        recipe: its recipe.
        store: the class's image store.

    CLI Example:

    .. code-block:: bash

        salt hub classhub_image.archived student 0123456789abcdef /home/.classhub/images
    """
    return __utils__["classhub_image.note"](_archive(name, recipe, store))


def save(name: str, recipe: str, store: str) -> None:
    """Put an image of this engine into the store, whole or not at all.

    Args:
        name: name of the image.
        recipe: its recipe.
        store: directory shared by hub and nodes.

    Raises:
        CommandExecutionError: no such image, or no room.

    CLI Example:

    .. code-block:: bash

        salt hub classhub_image.save student 0123456789abcdef /home/.classhub/images
    """
    tag, path = reference(name, recipe), _archive(name, recipe, store)
    image = inspect(tag)
    if not image:
        raise CommandExecutionError(f"this engine has no image {tag}")
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    missing = __utils__["classhub_image.missing_room"](store, image["size"])
    if missing:
        raise CommandExecutionError(
            f"{store} lacks {missing // 2**20 + 1} MB for the archive of {tag}; remove archives of old recipes there, "
            "or make room"
        )
    staged = path.with_name(f".{path.name}.new")
    try:
        _docker("save", "--output", str(staged), tag)
        __utils__["classhub_image.seal"](staged, path, recipe, image["id"])
    finally:
        staged.unlink(missing_ok=True)


def load(archive: str, image_id: str) -> None:
    """Load an image from an archive, and see that it is the expected one.

    Args:
        archive: path of the archive.
        image_id: the ID that the image must have.

    Raises:
        CommandExecutionError: the archive is missing, damaged or holds another image.

    CLI Example:

    .. code-block:: bash

        salt node1 classhub_image.load /home/.classhub/images/student-0123456789abcdef.tar sha256:...
    """
    if not Path(archive).is_file():
        raise CommandExecutionError(
            f"there is no {archive} on this host; is the class's filesystem mounted?"
        )
    _docker("load", "--quiet", "--input", archive)
    if not inspect(image_id):
        raise CommandExecutionError(f"{archive} does not hold the image {image_id}")


def discard(name: str, recipe: str, store: str) -> None:
    """Remove an image's archive from the store.

    CLI Example:

    .. code-block:: bash

        salt hub classhub_image.discard student 0123456789abcdef /home/.classhub/images
    """
    __utils__["classhub_image.discard"](_archive(name, recipe, store))


def pull(image: str) -> None:
    """Fetch an image from its registry.

    Args:
        image: the image by digest, ``name@sha256:...``.

    Raises:
        CommandExecutionError: the registry does not answer or does not have it.

    CLI Example:

    .. code-block:: bash

        salt node1 classhub_image.pull registry.example.edu/class@sha256:...
    """
    _docker("pull", "--quiet", image)


def published() -> dict:
    """What the hub offers the nodes, for the mine.

    Returns:
        ``recipe``, ``id`` and ``archive`` (its path in the class's store) of the student image.

    Raises:
        CommandExecutionError: the store does not have it yet.

    CLI Example:

    .. code-block:: bash

        salt hub classhub_image.published
    """
    settings = __pillar__["classhub"]["image"]
    recipe, store = settings["recipe"], settings["store"]
    about = archived(_STUDENT, recipe, store)
    if not about:
        raise CommandExecutionError(f"{store} has no archive of the student image {recipe} yet")
    return {"recipe": recipe, "id": about["id"], "archive": str(_archive(_STUDENT, recipe, store))}


def held() -> list[str]:
    """Student images that this host could start a server from, for the mine.

    Returns:
        IDs of the images built by the class; or the digest of pillar, when the image comes from a registry.

    Raises:
        CommandExecutionError: the engine does not answer.

    CLI Example:

    .. code-block:: bash

        salt 'node*' classhub_image.held
    """
    wanted = __pillar__["classhub"]["image"]["reference"]
    if wanted:
        return [wanted] if inspect(wanted) else []
    return sorted(
        set(_docker("image", "ls", "--quiet", "--no-trunc", f"classhub/{_STUDENT}").split())
    )


def selected(path: str = "/etc/jupyterhub/image.json") -> dict:
    """The image from which the hub starts servers: ``image`` and ``recipe``; empty before the first choice.

    CLI Example:

    .. code-block:: bash

        salt hub classhub_image.selected
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise CommandExecutionError(f"{path} is not JSON: {error}") from error


def select(image: str, recipe: str, path: str = "/etc/jupyterhub/image.json") -> None:
    """Make the hub start servers from ``image`` from now on; running servers keep theirs.

    Args:
        image: ID, or name by digest.
        recipe: what it was built from; empty for an image from a registry.
        path: where the hub reads it.

    CLI Example:

    .. code-block:: bash

        salt hub classhub_image.select sha256:... 0123456789abcdef
    """
    text = json.dumps({"image": image, "recipe": recipe}) + "\n"
    __utils__["classhub_image.write"](Path(path), text)
