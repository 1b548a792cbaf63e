"""The tree is a house one can live in: what is served, what links where, and the habits that a command can check."""

import ast
import re
import subprocess

import pytest

from tests.support.loading import ROOT

SLS = sorted(path for path in (ROOT / "salt").rglob("*.sls") if not path.is_symlink())
LINKS = {
    "top.sls": "top.sls",
    "_modules": "_modules",
    "_states": "_states",
    "_utils": "_utils",
    "_engines": "_engines",
}
SALT_PYTHON = sorted(
    path
    for kind in ("modules", "states", "utils", "runners", "pillar", "engines", "netapi")
    for path in (ROOT / f"_{kind}").glob("*.py")
)


def relative(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("link", LINKS)
def test_what_minions_need_is_linked_into_the_file_root(link):
    path = ROOT / "salt" / link
    assert path.is_symlink()
    assert path.resolve() == ROOT / LINKS[link]


def test_nothing_else_is_linked_into_the_file_root():
    links = {path.name for path in (ROOT / "salt").rglob("*") if path.is_symlink()}
    assert links == set(LINKS)


def test_no_package_shadows_salt():
    assert not (ROOT / "salt/__init__.py").exists()


def _included(name, files):
    """A component, and what it includes, and what that includes."""
    text = files[name].read_text() if name in files else ""
    lists = re.findall(r"^include:\n((?: .*\n|{.*\n)+)", text, re.MULTILINE)
    names = re.findall(r"^  - (\S+)$", "".join(lists), re.MULTILINE)
    return {name}.union(*(_included(each, files) for each in names))


def test_faults_in_the_settings_stop_each_component_also_alone():
    files = {
        relative(path).removeprefix("salt/").removesuffix(".sls").replace("/", "."): path
        for path in SLS
        if path.name not in ("top.sls", "clean.sls") and path.parent.name != "orch"
    }
    files = {name.removesuffix(".init"): path for name, path in files.items()}
    assert [name for name in files if "check" not in _included(name, files)] == []


@pytest.mark.parametrize("path", SLS, ids=relative)
def test_sls_opens_with_what_it_is_for(path):
    assert path.read_text().startswith("# ")


@pytest.mark.parametrize("path", [path for path in SLS if path.parent.name != "orch"], ids=relative)
def test_state_ids_start_with_the_component(path):
    component = path.relative_to(ROOT / "salt").parts[0]
    words = {"check": "class", "top.sls": ""}
    first = words.get(component, component)
    ids = re.findall(r"^([A-Z][^:\n]*[^:\s]):$", path.read_text(), re.MULTILINE)
    assert all(found.lower().startswith(first) for found in ids), ids


@pytest.mark.parametrize("path", SLS, ids=relative)
def test_commands_are_guarded(path):
    for block in re.split(r"\n(?=\S)", path.read_text()):
        if re.search(r"^  cmd\.run:", block, re.MULTILINE):
            assert re.search(r"- (unless|onlyif|creates|onchanges|onchanges_any)\b", block), block


@pytest.mark.parametrize("path", SLS, ids=relative)
def test_modes_are_quoted_and_of_four_digits(path):
    for mode in re.findall(r"mode: (.*)", path.read_text()):
        assert re.fullmatch(r'"[0-7]{4}"|"keep"|\{\{.*\}\}', mode), mode


@pytest.mark.parametrize("path", SALT_PYTHON, ids=relative)
def test_pillar_is_not_read_through_the_mask(path):
    assert '__salt__["pillar.get"]' not in path.read_text()


@pytest.mark.parametrize(
    "path",
    [path for path in SALT_PYTHON if path.parent.name in ("_modules", "_runners")],
    ids=relative,
)
def test_public_functions_show_how_they_are_called(path):
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            assert "CLI Example:" in (ast.get_docstring(node) or ""), node.name


def test_what_our_programs_complain_of_reaches_the_journal():
    """By itself a unit's errors go where its output goes, which may be nowhere."""
    for path in (ROOT / "salt").rglob("*.service*"):
        text = path.read_text()
        if "StandardOutput=null" in text and "/opt/jupyterhub/bin/python" in text:
            assert "StandardError=journal" in text, relative(path)


def test_no_secret_is_in_the_repository():
    found = subprocess.run(
        [
            "git",
            "grep",
            "-lIE",
            r"BEGIN [A-Z ]*PRIVATE KEY-----$|gh[pousr]_[A-Za-z0-9]{30}|SWMTKN-1-[0-9a-z]{20}",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    assert found == []
