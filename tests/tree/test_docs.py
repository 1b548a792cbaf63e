"""The documentation says what is true of the tree: made pages are current, links and commands lead somewhere."""

import ast
import importlib.util
import re
import subprocess

import pytest
import yaml

from tests.support.loading import ROOT

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
PUBLIC = sorted(
    f"{path.stem}.{node.name}"
    for folder in ("_modules", "_runners")
    for path in (ROOT / folder).glob("*.py")
    for node in ast.parse(path.read_text(encoding="utf-8")).body
    if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
)


def documents():
    """Every Markdown file that is, or could be, committed."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    found = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return sorted(name for name in set(found.split()) if (ROOT / name).is_file())


DOCUMENTS = documents()


def text_of(name):
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def generator():
    spec = importlib.util.spec_from_file_location(
        "classhub_docs_generate", ROOT / "docs/reference/generate.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["pillar.md", "modules.md"])
def test_made_pages_are_current(generator, page):
    assert text_of(f"docs/reference/{page}") == generator.pages()[page], (
        "run .cache/venv/bin/python docs/reference/generate.py"
    )


def test_every_setting_is_in_the_reference():
    defaults = yaml.safe_load(text_of("salt/defaults.yaml"))
    keys = [
        f"{name}:{key}" if isinstance(value, dict) and value else name
        for name, value in defaults.items()
        for key in (value if isinstance(value, dict) and value else [""])
    ]
    shown = text_of("docs/reference/pillar.md")
    assert [key for key in keys if f"| `classhub:{key}` |" not in shown] == []


@pytest.mark.parametrize("function", PUBLIC)
def test_public_functions_are_in_the_reference(function):
    assert f"#### `{function}(" in text_of("docs/reference/modules.md")


@pytest.mark.parametrize("command", ["make setup", "make up", "make test"])
def test_the_readme_names_the_ways_in(command):
    assert re.search(rf"^{command}\b", text_of("README.md"), re.MULTILINE)


def slug(heading):
    """A heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_relative_links_lead_somewhere(name):
    dead = []
    for target in LINK.findall(CODE.sub("", text_of(name))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = ((ROOT / name).parent / path).resolve() if path else ROOT / name
        if (
            not file.exists()
            or anchor
            and anchor not in map(slug, HEADING.findall(file.read_text(encoding="utf-8")))
        ):
            dead.append(target)
    assert dead == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_named_make_targets_exist(name):
    named = set(re.findall(r"(?:^|`|&& )make ([a-z][a-z-]*)", text_of(name), re.MULTILINE))
    made = set(re.findall(r"^([a-z-]+(?: [a-z-]+)*):.*##", text_of("Makefile"), re.MULTILINE))
    made |= {"test-tree", "test-unit", "test-functional", "test-integration"}
    assert named <= made


@pytest.mark.parametrize("name", DOCUMENTS)
def test_named_states_exist(name):
    named = re.findall(r"state\.apply ([\w.,=]+)", text_of(name))
    missing = []
    for sls in {sls for words in named if "=" not in words for sls in words.strip(".,").split(",")}:
        path = ROOT / "salt" / sls.replace(".", "/")
        if not (path.with_suffix(".sls").exists() or (path / "init.sls").exists()):
            missing.append(sls)
    assert missing == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_named_functions_exist(name):
    """`salt-run classhub.x`, and `salt HOST classhub_x.y` with any target."""
    shown = text_of(name)
    named = {f"classhub.{verb}" for verb in re.findall(r"salt-run classhub\.(\w+)", shown)}
    named |= set(re.findall(r"\bsalt \S+ (classhub\w*\.\w+)", shown))
    assert named <= set(PUBLIC) | {"classhub.<verb>"}


@pytest.mark.parametrize(("page", "least"), [("security", 50), ("nfs", 20)])
def test_tests_of_what_was_tried_exist(page, least):
    """The pages of what was tried name each test as path::name."""
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text_of(f"docs/explanation/{page}.md"))
    assert len(named) > least
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not (ROOT / path).is_file() or f"\ndef {name}(" not in text_of(path)
    ]
    assert missing == []


NO_ATTACKS = {
    "test_the_client_speaks_to_the_master",
    "test_states_are_served",
    "test_the_firewall_is_in_force_now_and_at_boot",
    "test_rules_that_somebody_flushed_come_back",
    "test_servers_without_the_world_still_work",
}


@pytest.mark.parametrize(
    "path", ["tests/lab/test_7_isolation.py", "tests/integration/test_minion_attacks.py"]
)
def test_every_attack_is_on_the_page(path):
    shown = text_of("docs/explanation/security.md")
    names = set(re.findall(r"^def (test_\w+)", text_of(path), re.MULTILINE))
    assert {name for name in names - NO_ATTACKS if f"`{path}::{name}`" not in shown} == set()
