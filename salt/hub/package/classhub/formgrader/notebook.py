"""A student's notebook as a page for a grader: what a browser would run is not in it.

The notebook's own HTML is cleaned to a list of harmless tags. Whatever else nbgrader's template writes into the page
as it is (ids, counts, metadata) is taken over only if it looks as it must.
"""

import re
from urllib.parse import urlsplit

import bleach
import nbformat
from jinja2 import pass_context
from jinja2.runtime import Context
from nbconvert.exporters import HTMLExporter
from nbformat import NotebookNode

TAGS = {
    "a", "abbr", "b", "blockquote", "br", "caption", "code", "dd", "del", "div", "dl", "dt", "em",
    "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i", "img", "kbd", "li", "ol", "p", "pre", "s",
    "small", "span", "strong", "sub", "sup", "table", "tbody", "td", "tfoot", "th", "thead", "tr",
    "u", "ul",
}  # fmt: skip
PLAIN = {"align", "alt", "colspan", "height", "rowspan", "title", "width"}
# of pygments and pandas; others could pass for parts of the formgrader
CLASS = re.compile(r"[a-z]{1,2}\d?|highlight|dataframe|ansi-[a-z-]+")
# pictures in the page itself, and files of the submission
PICTURE = re.compile(r"data:image/(png|jpeg|gif);base64,[A-Za-z0-9+/=\s]*")
NAME = re.compile(r"[\w-]{1,100}")
SHOWN = {
    "text/plain", "text/html", "text/markdown", "text/latex", "image/png", "image/jpeg", "image/svg+xml",
}  # fmt: skip
FLAGS = ("grade", "solution", "task", "locked")


def clean(html: str) -> str:
    """HTML without scripts, styles, ids and everything else that is not on the lists."""
    return bleach.clean(html, tags=TAGS, attributes=_may_have, strip=True)


def _may_have(tag: str, name: str, value: str) -> bool:
    if name == "class":
        return all(CLASS.fullmatch(word) for word in value.split())
    if name == "href":
        return tag == "a"  # bleach knows the harmless schemes
    if name == "src":
        return tag == "img" and bool(PICTURE.fullmatch(value) or _is_file(value))
    return name in PLAIN


def _is_file(value: str) -> bool:
    """Whether an address is of a file below the page's own."""
    parts = urlsplit(value)
    return not (parts.scheme or parts.netloc or parts.path[:1] in ("/", "\\") or ".." in value)


def tame(notebook: NotebookNode) -> NotebookNode:
    """A copy with only what a grader's page needs of a notebook, each part as it must be."""
    language = notebook.get("metadata", {}).get("language_info", {}).get("name", "")
    metadata = {"language_info": {"name": language}} if _is_name(language) else {}
    cells = [_cell(cell) for cell in notebook.get("cells", [])]
    return nbformat.from_dict(
        {"nbformat": 4, "nbformat_minor": 4, "metadata": metadata, "cells": cells}
    )


def _cell(cell: dict) -> dict:
    kind = cell.get("cell_type")
    nbgrader = _grading(cell.get("metadata", {}).get("nbgrader"))
    tamed = {
        "cell_type": kind if kind in ("code", "markdown") else "raw",
        "metadata": {"nbgrader": nbgrader} if nbgrader else {},
        "source": str(cell.get("source", "")),
    }
    if kind == "code":
        tamed["execution_count"] = _count(cell.get("execution_count"))
        tamed["outputs"] = [_output(output) for output in cell.get("outputs", [])]
    return tamed


def _grading(found: object) -> dict:
    """nbgrader's part of a cell's metadata; nothing if it cannot be nbgrader's."""
    if not isinstance(found, dict) or not _is_name(found.get("grade_id")):
        return {}
    points = found.get("points", 0)
    return {flag: found.get(flag) is True for flag in FLAGS} | {
        "grade_id": found["grade_id"],
        "points": points if type(points) in (int, float) else 0,
    }


def _output(output: dict) -> dict:
    kind = output.get("output_type")
    if kind == "stream":
        name = "stderr" if output.get("name") == "stderr" else "stdout"
        return {"output_type": kind, "name": name, "text": str(output.get("text", ""))}
    if kind == "error":
        lines = [str(line) for line in output.get("traceback", [])]
        return {"output_type": kind, "ename": "", "evalue": "", "traceback": lines}
    data = {name: str(value) for name, value in output.get("data", {}).items() if name in SHOWN}
    if "text/html" in data:
        data["text/html"] = clean(data["text/html"])
    tamed = {"output_type": "display_data", "data": data, "metadata": {}}
    if kind == "execute_result":
        count = _count(output.get("execution_count"))
        tamed |= {"output_type": kind, "execution_count": count}
    return tamed


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(NAME.fullmatch(value))


def _count(value: object) -> int | None:
    return value if type(value) is int else None


class Exporter(HTMLExporter):
    """nbgrader's page of a submission, from the tamed notebook.

    nbconvert's own `sanitize_html` is of no use here: nbgrader's template does not ask for it, and its list of tags
    lacks those of Markdown and of tables.
    """

    def from_notebook_node(self, nb: NotebookNode, resources: dict | None = None, **kwargs):
        return super().from_notebook_node(tame(nb), resources, **kwargs)

    @pass_context
    def markdown2html(self, context: Context, source: str) -> str:
        """The filter of this name in templates."""
        return clean(super().markdown2html(context, source))
