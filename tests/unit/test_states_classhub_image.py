"""classhub_image states: build or load once, wait bounded, and never switch before every node has the image."""

import json

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.loading import load

RECIPE = "0123456789abcdef"
ID = "sha256:" + "1" * 64
OTHER = "sha256:" + "2" * 64
TAG = f"classhub/student:{RECIPE}"


class Engine:
    """A stand-in for the module: one engine, one store, one mine."""

    def __init__(self):
        self.images, self.archives, self.mine, self.members, self.calls = {}, {}, {}, [], []
        self.broken_archive = False
        self.down = False

    def inspect(self, image):
        if self.down:
            raise CommandExecutionError("docker is not installed on this host")
        return self.images.get(image, {})

    def build(self, name, context, recipe, base, base_archive="", build_args=None):
        self.calls.append("build")
        self.images[f"classhub/{name}:{recipe}"] = self.images[ID] = {
            "id": ID,
            "recipe": recipe,
            "size": 1,
        }

    def save(self, name, recipe, store):
        self.calls.append("save")
        self.archives[name, recipe] = {
            "recipe": recipe,
            "id": self.images[f"classhub/{name}:{recipe}"]["id"],
        }

    def load(self, archive, image_id):
        self.calls.append("load")
        if self.broken_archive:
            raise CommandExecutionError("docker load: unexpected EOF")
        self.images[image_id] = self.images[TAG] = {"id": image_id, "recipe": RECIPE, "size": 1}

    def pull(self, image):
        self.calls.append("pull")
        self.images[image] = {"id": ID, "recipe": "", "size": 1}

    def published(self):
        if ("student", RECIPE) not in self.archives:
            raise CommandExecutionError("no archive yet")
        return {
            "recipe": RECIPE,
            "id": self.archives["student", RECIPE]["id"],
            "archive": "/store/x.tar",
        }

    def mine_get(self, target, name, tgt_type="glob"):
        targets = target if isinstance(target, list) else [target]
        return {k: v for k, v in self.mine.get(name, {}).items() if k in targets}


@pytest.fixture
def engine():
    return Engine()


@pytest.fixture
def states(engine, monkeypatch, tmp_path):
    module = load("states", "classhub_image")
    real = load("modules", "classhub_image")
    utils, wait = load("utils", "classhub_image"), load("utils", "classhub_wait")
    monkeypatch.setattr(wait.time, "sleep", lambda seconds: None)
    dunders = {"classhub_image.archive": utils.archive, "classhub_image.write": utils.write}
    dunders["classhub_wait.until"] = wait.until
    salt = {
        f"classhub_image.{name}": getattr(engine, name)
        for name in ("inspect", "build", "save", "load", "pull")
    }
    salt["classhub_image.published"] = engine.published
    salt["classhub_image.archived"] = lambda name, recipe, store: engine.archives.get(
        (name, recipe), {}
    )
    salt |= {
        f"classhub_image.{name}": getattr(real, name)
        for name in ("reference", "selected", "select")
    }
    salt |= {"mine.get": engine.mine_get, "classhub_swarm.nodes": lambda: engine.members}
    monkeypatch.setattr(real, "__utils__", dunders, raising=False)
    pillar = {"classhub": {"image": {"recipe": RECIPE, "reference": "", "store": "/store"}}}
    for name, value in {
        "salt": salt,
        "utils": dunders,
        "opts": {"test": False},
        "pillar": pillar,
    }.items():
        monkeypatch.setattr(module, f"__{name}__", value, raising=False)
    return module


def build(states, store="/store"):
    return states.built("student", "/context", RECIPE, "debian:bookworm-slim", store=store)


def member(host, **changes):
    return {"host": host, "node": True, "state": "ready", "availability": "active"} | changes


# -- built -----------------------------------------------------------------------------------------------------------


def test_first_run_builds_and_archives_and_the_second_changes_nothing(states, engine):
    assert build(states)["changes"] == {TAG: ["built", "archived"]}
    again = build(states)
    assert (again["result"], again["changes"], engine.calls) == (True, {}, ["build", "save"])


def test_image_that_stays_on_its_host_is_not_archived(states, engine):
    assert build(states, store="")["changes"] == {TAG: ["built"]}
    assert build(states, store="")["changes"] == {}


def test_archive_spares_the_build(states, engine):
    engine.archives["student", RECIPE] = {"recipe": RECIPE, "id": ID}
    assert build(states)["changes"] == {TAG: ["loaded"]}
    assert engine.calls == ["load"]


def test_damaged_archive_is_made_anew(states, engine):
    engine.archives["student", RECIPE] = {"recipe": RECIPE, "id": OTHER}
    engine.broken_archive = True
    assert build(states)["changes"] == {TAG: ["built", "archived"]}
    assert engine.calls == ["load", "build", "save"]
    assert engine.archives["student", RECIPE]["id"] == ID


def test_archive_for_which_the_engine_has_no_room_is_kept(states, engine, monkeypatch):
    """It is perhaps the only one, and there is no room to build another either."""

    def fail(*args):
        raise CommandExecutionError("no space left on device")

    engine.archives["student", RECIPE] = {"recipe": RECIPE, "id": ID}
    monkeypatch.setitem(states.__salt__, "classhub_image.load", fail)
    monkeypatch.setitem(states.__salt__, "classhub_image.build", fail)
    assert build(states)["result"] is False
    assert engine.archives["student", RECIPE] == {"recipe": RECIPE, "id": ID}


def test_image_that_differs_from_the_archive_gives_way(states, engine):
    engine.images[TAG] = {"id": OTHER, "recipe": RECIPE, "size": 1}
    engine.archives["student", RECIPE] = {"recipe": RECIPE, "id": ID}
    assert build(states)["changes"] == {TAG: ["loaded"]}
    assert engine.images[TAG]["id"] == ID


def test_tag_with_the_label_of_another_recipe_is_built_again(states, engine):
    engine.images[TAG] = {"id": OTHER, "recipe": "", "size": 1}
    assert build(states)["changes"] == {TAG: ["built", "archived"]}


def test_failed_build_fails_the_state(states, engine, monkeypatch):
    def fail(*args):
        raise CommandExecutionError("building failed; the end of the log")

    monkeypatch.setitem(states.__salt__, "classhub_image.build", fail)
    ret = build(states)
    assert (ret["result"], ret["changes"], ret["comment"]) == (
        False,
        {},
        "building failed; the end of the log",
    )


def test_host_without_an_engine_gets_a_prediction(states, engine):
    engine.down = True
    states.__opts__["test"] = True
    assert build(states)["result"] is None
    assert states.loaded("student", RECIPE, "hub", 60)["result"] is None
    assert states.pulled("registry.example.edu/class@sha256:1")["result"] is None
    assert engine.calls == []


def test_host_without_an_engine_fails_for_real(states, engine):
    engine.down = True
    assert build(states)["result"] is False


# -- loaded ----------------------------------------------------------------------------------------------------------


def test_node_loads_what_the_hub_offers_once(states, engine):
    engine.mine["classhub_image"] = {"hub": {"recipe": RECIPE, "id": ID, "archive": "/store/x.tar"}}
    assert states.loaded("student", RECIPE, "hub", 0)["changes"] == {"student": f"{RECIPE} loaded"}
    assert states.loaded("student", RECIPE, "hub", 0)["changes"] == {}
    assert engine.calls == ["load"]


def test_node_does_not_take_another_recipe(states, engine):
    engine.mine["classhub_image"] = {
        "hub": {"recipe": "f" * 16, "id": OTHER, "archive": "/store/y.tar"}
    }
    ret = states.loaded("student", RECIPE, "hub", 0)
    assert ret["result"] is False
    assert "hub has not offered the image" in ret["comment"]
    assert engine.calls == []


def test_prediction_does_not_wait(states, engine, monkeypatch):
    states.__opts__["test"] = True
    monkeypatch.setitem(states.__utils__, "classhub_wait.until", None)
    assert states.loaded("student", RECIPE, "hub", 1800)["result"] is None


def test_damaged_archive_on_a_node_is_an_error(states, engine):
    engine.mine["classhub_image"] = {"hub": {"recipe": RECIPE, "id": ID, "archive": "/store/x.tar"}}
    engine.broken_archive = True
    ret = states.loaded("student", RECIPE, "hub", 0)
    assert (ret["result"], ret["changes"]) == (False, {})
    assert "unexpected EOF" in ret["comment"]


def test_image_of_a_registry_is_pulled_once(states, engine):
    assert states.pulled("registry.example.edu/class@sha256:1")["changes"]
    assert states.pulled("registry.example.edu/class@sha256:1")["changes"] == {}
    assert engine.calls == ["pull"]


# -- selected --------------------------------------------------------------------------------------------------------


def test_hub_without_nodes_selects_at_once_and_only_once(states, engine, tmp_path):
    build(states)
    path = tmp_path / "image.json"
    assert states.selected(str(path), 60)["changes"] == {"image": {"old": "", "new": ID}}
    assert json.loads(path.read_text()) == {"image": ID, "recipe": RECIPE}
    assert path.stat().st_mode & 0o777 == 0o644
    assert states.selected(str(path), 60)["changes"] == {}


def test_hub_keeps_the_old_image_while_a_living_node_lacks_the_new_one(states, engine, tmp_path):
    build(states)
    path = tmp_path / "image.json"
    old = json.dumps({"image": OTHER, "recipe": "f" * 16})
    path.write_text(old)
    engine.members = [member("node1"), member("node2")]
    engine.mine["classhub_images"] = {"node1": [ID], "node2": [OTHER]}
    ret = states.selected(str(path), 0)
    assert (ret["result"], ret["changes"], path.read_text()) == (False, {}, old)
    assert ret["comment"].startswith(
        f"node2 did not report the image within 0 s; the hub keeps {OTHER}"
    )
    assert "salt -L node2 state.apply image.loaded" in ret["comment"]


def test_hub_switches_when_all_living_nodes_have_the_image(states, engine, tmp_path):
    build(states)
    engine.members = [
        member("node1"),
        member("node2", state="down"),
        member("node3", availability="drain"),
    ]
    engine.members.append(member("hub", node=False))
    engine.mine["classhub_images"] = {"node1": [ID, OTHER]}
    assert states.selected(str(tmp_path / "image.json"), 0)["result"] is True


def test_node_that_reports_in_time_is_waited_for(states, engine, tmp_path, monkeypatch):
    build(states)
    engine.members = [member("node1")]
    monkeypatch.setattr(
        load("utils", "classhub_wait").time,
        "sleep",
        lambda seconds: engine.mine.update(classhub_images={"node1": [ID]}),
    )
    assert states.selected(str(tmp_path / "image.json"), 60)["result"] is True


def test_selection_is_predicted(states, engine, tmp_path):
    states.__opts__["test"] = True
    ret = states.selected(str(tmp_path / "image.json"), 60)
    assert ret["result"] is None
    assert not (tmp_path / "image.json").exists()


def test_image_of_a_registry_is_selected_by_digest(states, engine, tmp_path):
    states.__pillar__["classhub"]["image"]["reference"] = "registry.example.edu/class@sha256:1"
    path = tmp_path / "image.json"
    assert states.selected(str(path), 0)["result"] is True
    assert json.loads(path.read_text()) == {
        "image": "registry.example.edu/class@sha256:1",
        "recipe": "",
    }
