"""The class's images: built on the hub, loaded on every node, and only then what the hub starts servers from."""

from salt.exceptions import CommandExecutionError

__virtualname__ = "classhub_image"


def __virtual__():
    return __virtualname__


def _module(function: str, *args: object) -> object:
    return __salt__[f"classhub_image.{function}"](*args)


def _inspected(image: str) -> dict:
    """The image on this host; none on a host whose engine is still to be installed, when only asked to predict."""
    try:
        return _module("inspect", image)
    except CommandExecutionError:
        if __opts__["test"]:
            return {}
        raise


def built(
    name: str,
    context: str,
    recipe: str,
    base: str,
    base_archive: str = "",
    build_args: dict[str, str] | None = None,
    store: str = "",
) -> dict:
    """The image ``classhub/<name>:<recipe>`` is here, and its archive in the store.

    An image that is missing here comes from its archive; only without a good archive is it built.

    Args:
        name: name of the image.
        context: directory with the Dockerfile.
        recipe: the recipe, which is the image's label and tag.
        base: image to build on.
        base_archive: tar to import ``base`` from when it is not here.
        build_args: further arguments of the Dockerfile.
        store: directory in which the image travels to other hosts; empty: it stays here.
    """
    ret = {"name": name, "changes": {}, "result": True}
    tag = _module("reference", name, recipe)
    try:
        steps = _missing(name, recipe, store)
        if not steps:
            return ret | {"comment": f"{tag} is here"}
        if __opts__["test"]:
            return ret | {
                "result": None,
                "changes": {tag: steps},
                "comment": f"{tag} would be {' and '.join(steps)}",
            }
        done = _make(steps, name, recipe, store, (context, recipe, base, base_archive, build_args))
    except (CommandExecutionError, OSError) as error:
        return ret | {"result": False, "comment": str(error)}
    return ret | {"changes": {tag: done}, "comment": f"{tag} was {' and '.join(done)}"}


def _missing(name: str, recipe: str, store: str) -> list[str]:
    """What has to be done: ``loaded`` or ``built``, then ``archived``."""
    image = _inspected(_module("reference", name, recipe))
    archive = _module("archived", name, recipe, store) if store else {}
    # nodes have what the archive holds, so it counts where the two differ
    if image.get("recipe") == recipe and archive.get("id", image["id"]) == image["id"]:
        return ["archived"] if store and not archive else []
    if archive:
        return ["loaded"]
    return ["built", "archived"] if store else ["built"]


def _make(steps: list[str], name: str, recipe: str, store: str, build: tuple) -> list[str]:
    """Do ``steps``; an archive that cannot be loaded is made anew. Returns what was done.

    The old one stays until then: that it was not loaded may be the engine's fault, as with a full disk.
    """
    if steps == ["loaded"]:
        about = _module("archived", name, recipe, store)
        try:
            _module(
                "load", str(__utils__["classhub_image.archive"](store, name, recipe)), about["id"]
            )
            return steps
        except CommandExecutionError:
            steps = ["built", "archived"]
    if "built" in steps:
        _module("build", name, *build)
    if "archived" in steps:
        _module("save", name, recipe, store)
    return steps


def loaded(name: str, recipe: str, hub: str, wait: int) -> dict:
    """The student image that the hub built is on this node.

    Args:
        name: name of the image, for the report.
        recipe: the recipe that the hub must offer.
        hub: minion id of the hub.
        wait: seconds to wait for the hub's offer.
    """
    ret = {"name": name, "changes": {}, "result": True}

    def offer() -> dict | None:
        found = (__salt__["mine.get"](hub, "classhub_image") or {}).get(hub) or {}
        return found if found.get("recipe") == recipe else None

    try:
        found = offer() if __opts__["test"] else _await(offer, wait, f"image {recipe} from {hub}")
        if found and _inspected(found["id"]):
            return ret | {"comment": f"{name} {recipe} is here"}
        if __opts__["test"]:
            ret |= {"result": None, "changes": {name: f"{recipe} loaded"}}
            return ret | {"comment": f"{name} {recipe} would be loaded once {hub} has built it"}
        if not found:
            return ret | {
                "result": False,
                "comment": f"{hub} has not offered the image {recipe} within {wait} s. Look at "
                f"`salt {hub} state.apply image.built`, and at /var/log/classhub/image-build.log there",
            }
        _module("load", found["archive"], found["id"])
    except (CommandExecutionError, OSError) as error:
        return ret | {"result": False, "comment": str(error)}
    return ret | {"changes": {name: f"{recipe} loaded"}, "comment": f"{name} {recipe} was loaded"}


def _await(probe: object, wait: int, what: str) -> object:
    return __utils__["classhub_wait.until"](probe, wait, what)


def pulled(name: str) -> dict:
    """The image ``name`` (by digest) of a registry is on this host."""
    ret = {"name": name, "changes": {}, "result": True, "comment": f"{name} is here"}
    try:
        if _inspected(name):
            return ret
        if not __opts__["test"]:
            _module("pull", name)
    except CommandExecutionError as error:
        return ret | {"result": False, "comment": str(error)}
    ret["changes"] = {name: "pulled"}
    if __opts__["test"]:
        return ret | {"result": None, "comment": f"{name} would be pulled"}
    return ret | {"comment": f"{name} was pulled"}


def selected(name: str, wait: int) -> dict:
    """The hub starts servers from the class's image, which every living node has.

    A node that joins later loads the image before it joins. Paused and drained nodes take no servers, so they are not
    waited for.

    Args:
        name: path of the file that names the image.
        wait: seconds to wait for the nodes to report the image.
    """
    ret = {"name": name, "changes": {}, "result": True}
    try:
        before = _module("selected", name)
        chosen = _chosen()
        if before == chosen:
            return ret | {"comment": f"{chosen['image']} is selected"}
        change = {"image": {"old": before.get("image", ""), "new": chosen["image"]}}
        if __opts__["test"]:
            return ret | {
                "result": None,
                "changes": change,
                "comment": f"{chosen['image']} would be selected",
            }
        late = _late(chosen["image"], wait)
        if late:
            return ret | {"result": False, "comment": _complaint(late, wait, before)}
        _module("select", chosen["image"], chosen["recipe"], name)
    except (CommandExecutionError, OSError) as error:
        return ret | {"result": False, "comment": str(error)}
    return ret | {"changes": change, "comment": f"{chosen['image']} was selected"}


def _chosen() -> dict:
    settings = __pillar__["classhub"]["image"]
    if settings["reference"]:
        return {"image": settings["reference"], "recipe": ""}
    try:
        return {"image": _module("published")["id"], "recipe": settings["recipe"]}
    except CommandExecutionError:
        if __opts__["test"]:
            return {
                "image": f"the image of recipe {settings['recipe']}",
                "recipe": settings["recipe"],
            }
        raise


def _late(image: str, wait: int) -> list[str]:
    """Living nodes that have not reported ``image`` within ``wait`` seconds."""
    late: list[str] = []

    def all_reported() -> bool:
        members = __salt__["classhub_swarm.nodes"]()
        nodes = [
            m["host"]
            for m in members
            if m["node"] and m["state"] == "ready" and m["availability"] == "active"
        ]
        held = (
            __salt__["mine.get"](nodes, "classhub_images", tgt_type="list") or {} if nodes else {}
        )
        late[:] = sorted(node for node in nodes if image not in (held.get(node) or []))
        return not late

    _await(all_reported, wait, f"{image} on all nodes")
    return late


def _complaint(late: list[str], wait: int, before: dict) -> str:
    names = ",".join(late)
    keeps = f"the hub keeps {before['image']}" if before else "no image is selected"
    return (
        f"{', '.join(late)} did not report the image within {wait} s; {keeps}. Look at "
        f"`salt -L {names} state.apply image.loaded`, then apply this state again; take a node that is to stay away "
        f"out of the class with `salt <hub> classhub_swarm.availability {late[0]} drain`"
    )
