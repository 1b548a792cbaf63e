"""classhub_image functions: what docker is asked, and how an archive stays whole."""

import json
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.loading import load

RECIPE = "0123456789abcdef"
ID = "sha256:" + "1" * 64
TAG = f"classhub/student:{RECIPE}"


@pytest.fixture
def images():
    """What the stand-in of the engine has, by tag or ID."""
    return {}


@pytest.fixture
def asked():
    return []


@pytest.fixture
def module(images, asked, monkeypatch, tmp_path):
    module, utils = load("modules", "classhub_image"), load("utils", "classhub_image")

    def docker(*args):
        asked.append(args)
        if args[:2] == ("image", "inspect"):
            if args[2] not in images:
                raise CommandExecutionError(f"docker image: Error: No such image: {args[2]}")
            return json.dumps([images[args[2]]])
        if args[0] == "save":
            Path(args[2]).write_bytes(b"layers")
        return ""

    pillar = {
        "classhub": {"image": {"recipe": RECIPE, "store": str(tmp_path / "store"), "reference": ""}}
    }
    functions = {
        f"classhub_image.{name}": getattr(utils, name)
        for name in ("archive", "note", "missing_room")
    }
    functions |= {
        f"classhub_image.{name}": getattr(utils, name) for name in ("seal", "discard", "write")
    }
    salt = {"classhub_engine.docker": docker}
    for name, value in {
        "salt": salt,
        "utils": functions,
        "pillar": pillar,
        "opts": {"test": False},
    }.items():
        monkeypatch.setattr(module, f"__{name}__", value, raising=False)
    monkeypatch.setattr(module, "_LOG", tmp_path / "log/image-build.log")
    return module


def image(recipe=RECIPE, size=6):
    return {"Id": ID, "Config": {"Labels": {"classhub.recipe": recipe}}, "Size": size}


def test_inspect_knows_a_missing_image_from_a_silent_engine(module, images, monkeypatch):
    assert module.inspect(TAG) == {}
    images[TAG] = image()
    assert module.inspect(TAG) == {"id": ID, "recipe": RECIPE, "size": 6}

    def silent(*args):
        raise CommandExecutionError("docker image: Cannot connect to the Docker daemon")

    monkeypatch.setitem(module.__salt__, "classhub_engine.docker", silent)
    with pytest.raises(CommandExecutionError, match="Cannot connect"):
        module.inspect(TAG)


def test_image_of_others_has_no_recipe(module, images):
    images["debian"] = {"Id": ID, "Config": {"Labels": None}, "Size": 1}
    assert module.inspect("debian")["recipe"] == ""


@pytest.mark.parametrize("base_here", [True, False])
def test_base_is_imported_only_when_it_is_not_here(module, images, asked, monkeypatch, base_here):
    argv = []
    monkeypatch.setattr(module, "_run_logged", lambda words: argv.extend(words) or 0)
    images[TAG] = image()
    if base_here:
        images["debian:bookworm-slim"] = image(recipe="")
    arguments = {"STACK": "numpy==2.4.6 pandas==3.1.1"}
    built = module.build(
        "student", "/context", RECIPE, "debian:bookworm-slim", "/base.tar", arguments
    )
    assert built["id"] == ID
    assert (("import", "/base.tar", "debian:bookworm-slim") in asked) is not base_here
    assert argv[:2] == ["docker", "build"]
    assert argv[-1] == "/context"
    assert "STACK=numpy==2.4.6 pandas==3.1.1" in argv
    assert f"classhub.recipe={RECIPE}" in argv


def test_failed_build_tells_the_end_of_its_log(module, monkeypatch):
    real = module._run_logged
    script = "for i in $(seq 40); do echo line $i; done; echo no room >&2; exit 3"
    monkeypatch.setattr(module, "_run_logged", lambda argv: real(["sh", "-c", script]))
    with pytest.raises(CommandExecutionError) as caught:
        module.build("student", "/context", RECIPE, "debian:bookworm-slim")
    assert str(caught.value).endswith("line 40\nno room")
    assert "line 5\n" not in str(caught.value)


def test_archive_is_whole_or_not_there(module, images, tmp_path):
    store = str(tmp_path / "store")
    images[TAG] = image()
    module.save("student", RECIPE, store)
    assert module.archived("student", RECIPE, store) == {"recipe": RECIPE, "id": ID, "size": 6}
    archive = tmp_path / f"store/student-{RECIPE}.tar"
    assert archive.stat().st_mode & 0o777 == 0o644
    assert sorted(p.name for p in archive.parent.iterdir()) == [
        f"student-{RECIPE}.json",
        archive.name,
    ]
    archive.write_bytes(b"lay")
    assert module.archived("student", RECIPE, store) == {}


def test_an_archive_takes_the_place_of_another(module, images, tmp_path):
    store = str(tmp_path / "store")
    images[TAG] = image()
    module.save("student", RECIPE, store)
    images[TAG] = image() | {"Id": "sha256:" + "2" * 64}
    module.save("student", RECIPE, store)
    assert module.archived("student", RECIPE, store)["id"] == "sha256:" + "2" * 64


def test_archive_without_a_note_was_never_finished(module, tmp_path):
    store = tmp_path / "store"
    store.mkdir()
    (store / f"student-{RECIPE}.tar").write_bytes(b"layers")
    assert module.archived("student", RECIPE, str(store)) == {}
    (store / f"student-{RECIPE}.json").write_text("{")
    assert module.archived("student", RECIPE, str(store)) == {}


def test_failed_save_leaves_nothing_behind(module, images, monkeypatch, tmp_path):
    images[TAG] = image()

    def fail(*args):
        if args[0] == "save":
            Path(args[2]).write_bytes(b"lay")
            raise CommandExecutionError("docker save: no space left on device")
        return json.dumps([image()])

    monkeypatch.setitem(module.__salt__, "classhub_engine.docker", fail)
    with pytest.raises(CommandExecutionError, match="no space left"):
        module.save("student", RECIPE, str(tmp_path / "store"))
    assert list((tmp_path / "store").iterdir()) == []


def test_full_store_is_told_before_anything_is_written(module, images, asked, tmp_path):
    images[TAG] = image(size=2**60)
    with pytest.raises(CommandExecutionError, match=r"lacks .* MB for the archive"):
        module.save("student", RECIPE, str(tmp_path / "store"))
    assert not [args for args in asked if args[0] == "save"]


def test_load_verifies_what_it_loaded(module, images, tmp_path):
    archive = tmp_path / "x.tar"
    with pytest.raises(CommandExecutionError, match="is the class's filesystem mounted"):
        module.load(str(archive), ID)
    archive.write_bytes(b"layers")
    with pytest.raises(CommandExecutionError, match="does not hold the image"):
        module.load(str(archive), ID)
    images[ID] = image()
    module.load(str(archive), ID)


def test_offer_needs_an_archive(module, images, tmp_path):
    with pytest.raises(CommandExecutionError, match="no archive of the student image"):
        module.published()
    images[TAG] = image()
    module.save("student", RECIPE, str(tmp_path / "store"))
    archive = str(tmp_path / f"store/student-{RECIPE}.tar")
    assert module.published() == {"recipe": RECIPE, "id": ID, "archive": archive}


def test_held_reports_the_digest_of_a_registry(module, images):
    reference = "registry.example.edu/class@sha256:1"
    module.__pillar__["classhub"]["image"]["reference"] = reference
    assert module.held() == []
    images[reference] = image(recipe="")
    assert module.held() == [reference]


def test_selection_is_read_back(module, tmp_path):
    path = str(tmp_path / "image.json")
    assert module.selected(path) == {}
    module.select(ID, RECIPE, path)
    assert module.selected(path) == {"image": ID, "recipe": RECIPE}
    assert [p.name for p in tmp_path.glob("*image.json*")] == ["image.json"]
    Path(path).write_text("{")
    with pytest.raises(CommandExecutionError, match="is not JSON"):
        module.selected(path)
