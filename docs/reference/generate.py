"""Writes the reference pages that are made from the code, so that they cannot disagree with it.

    python docs/reference/generate.py

pillar.md comes from salt/defaults.yaml, keys and comments; modules.md from the docstrings of the
public functions in _modules/ and _runners/. A test (tests/tree/test_docs.py) tells when a page is
out of date.
"""

import ast
import html
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
NOTICE = "<!-- Made by docs/reference/generate.py; do not edit. -->"
SECTIONS = ("Args", "Returns", "Raises")

PILLAR_HEAD = """\
# Pillar reference

Every setting of a class, below the pillar key `classhub`. The class's own values are in `pillar/class.sls`; what is
not there has the default below. A mapping is merged with its default, key by key. A list or a plain value replaces
its default.

The master checks all of it before any host changes anything. A host of a class with faults gets one message that
lists every fault with its key, and no other state. Passwords and private keys belong in
[`pillar/secrets/`](../../pillar/secrets/README.md), which one minion alone can read.

Sizes are bytes, as 512M or 1G (powers of 1024). Times are seconds. "Required" means that there is no usable default.
"""
MODULES_HEAD = """\
# Functions

Execution modules (`_modules/`) run on the named host: `salt HOST module.function`. Runners (`_runners/`) run on the
master: `salt-run module.function`. States are not listed here: each SLS file in `salt/` opens with what it is for.
"""
KINDS = {"_runners": "Runners, on the master", "_modules": "Execution modules, on the hosts"}


def main() -> None:
    for name, text in pages().items():
        (ROOT / "docs/reference" / name).write_text(text, encoding="utf-8")


def pages() -> dict[str, str]:
    """File name -> text of each page."""
    return {"pillar.md": pillar_page(), "modules.md": modules_page()}


# -- pillar ---------------------------------------------------------------------------------------


def pillar_page() -> str:
    """The settings as tables: one for the plain keys at the top, one for each section."""
    text = (ROOT / "salt/defaults.yaml").read_text(encoding="utf-8")
    lines = text.splitlines()
    parts = [NOTICE, PILLAR_HEAD]
    top = yaml.compose(text, Loader=yaml.SafeLoader).value
    plain = [pair for pair in top if not section(pair[1])]
    parts += ["## The class\n", table(plain, lines, "classhub")]
    for key, value in top:
        if section(value):
            parts.append(f"\n## `{key.value}`\n")
            note = comment(lines, key)
            parts += [f"{cell(note[0].upper() + note[1:])}.\n"] if note else []
            parts.append(table(value.value, lines, f"classhub:{key.value}"))
    return "\n".join(parts).rstrip() + "\n"


def section(node: yaml.Node) -> bool:
    """Whether a default is a mapping with keys of its own; `{}` is one whose keys a class chooses."""
    return isinstance(node, yaml.MappingNode) and bool(node.value)


def table(pairs: list[tuple[yaml.Node, yaml.Node]], lines: list[str], where: str) -> str:
    head = ["| key | default | what it is |", "|---|---|---|"]
    return "\n".join([*head, *rows(pairs, lines, where)])


def rows(pairs: list[tuple[yaml.Node, yaml.Node]], lines: list[str], where: str) -> Iterator[str]:
    """A row for each key; a mapping whose keys are explained has theirs below it."""
    for key, value in pairs:
        path = f"{where}:{key.value}"
        explained = section(value) and any(comment(lines, inner) for inner, _ in value.value)
        shown = "the keys below" if explained else default(value)
        yield f"| `{path}` | {shown} | {cell(comment(lines, key))} |"
        if explained:
            yield from rows(value.value, lines, path)


def comment(lines: list[str], node: yaml.Node) -> str:
    """What follows `#` on a key's line."""
    found = re.search(r"\s# (.*)$", lines[node.start_mark.line])
    return found[1] if found else ""


def default(node: yaml.Node) -> str:
    """A default on one line, as YAML."""
    value = yaml.safe_load(yaml.serialize(node))
    if value in ("", [], {}):
        return {"": '`""`', "[]": "`[]`", "{}": "`{}`"}[str(value)]
    if isinstance(value, list | dict):
        flow = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000)
        return f"`{flow.strip()}`"
    return f"`{value}`"


def cell(text: str) -> str:
    """Text that neither Markdown's tables nor its HTML take apart."""
    return html.escape(text, quote=False).replace("|", "\\|")


# -- functions ------------------------------------------------------------------------------------


def modules_page() -> str:
    """Every public function with its parameters, its answer and an example."""
    parts = [NOTICE, MODULES_HEAD]
    for folder, title in KINDS.items():
        parts.append(f"## {title}\n")
        for path in sorted((ROOT / folder).glob("*.py")):
            parts += module_parts(path)
    return "\n".join(parts).rstrip() + "\n"


def module_parts(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    yield f"### `{path.stem}`\n\n{markdown(inspect.cleandoc(ast.get_docstring(tree) or ''))}\n"
    for function in public_functions(tree):
        yield f"#### `{path.stem}.{function.name}({ast.unparse(function.args)})`\n"
        yield function_text(ast.get_docstring(function) or "") + "\n"


def public_functions(tree: ast.Module) -> list[ast.FunctionDef]:
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return [function for function in functions if not function.name.startswith("_")]


def function_text(docstring: str) -> str:
    """A docstring's sections as Markdown: prose, lists of parameters, the example as code."""
    prose, _, example = docstring.partition("CLI Example:")
    parts = re.split(rf"^({'|'.join(SECTIONS)}):\n", prose, flags=re.MULTILINE)
    done = [markdown(parts[0].strip())]
    for name, body in zip(parts[1::2], parts[2::2], strict=True):
        text = inspect.cleandoc(body).strip()
        if name == "Returns":
            done.append(f"Returns {markdown(text)}")
        else:
            title = "Parameters" if name == "Args" else "Raises"
            done.append(f"{title}:\n\n{entries(text)}")
    command = example.replace(".. code-block:: bash", "").strip()
    if command:
        done.append(f"```bash\n{inspect.cleandoc(command)}\n```")
    return "\n\n".join(done)


def entries(text: str) -> str:
    """`name: what it is` lines, and the lines that go on from them, as a list."""
    flat = re.sub(r"\n\s+", " ", text)
    named = (line.partition(": ") for line in flat.splitlines())
    return "\n".join(f"- `{name}`: {markdown(what)}" for name, _, what in named)


def markdown(text: str) -> str:
    """Docstrings mark code with two backticks."""
    return text.replace("``", "`")


if __name__ == "__main__":
    main()
