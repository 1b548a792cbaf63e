"""The firewall's rules as a host of an example class gets them, by real Salt."""

import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from tests.support.loading import ROOT
from tests.support.masterless import caller

TEMPLATE = ROOT / "salt/firewall/files/classhub.nft.jinja"


def context(example: str, minion_id: str, firewall: dict | None = None, **options: Any) -> dict:
    """What the state gives to the template.

    Args:
        firewall: settings ``classhub:firewall`` over the example's.
        options: of the minion's configuration.
    """
    return json.loads(_context(example, minion_id, json.dumps(firewall or {}), **options))


@cache
def _context(example: str, minion_id: str, firewall: str, **options: Any) -> str:
    with tempfile.TemporaryDirectory() as scratch:
        pillar = Path(scratch) / "pillar"
        pillar.mkdir()
        settings = {"classhub": {"firewall": json.loads(firewall)}}
        (pillar / "machine.sls").write_text(json.dumps(settings), encoding="utf-8")
        host = caller(example, minion_id, Path(scratch), pillar, **options)
        chunks = host.cmd("state.show_low_sls", "firewall")
    assert all(isinstance(chunk, dict) for chunk in chunks), "\n".join(map(str, chunks))
    (chunk,) = [each for each in chunks if each["name"] == "/etc/classhub/firewall.nft"]
    return json.dumps(chunk["context"])


def rendered(values: dict) -> str:
    """The rules themselves."""
    text = TEMPLATE.read_text(encoding="utf-8")
    template = jinja2.Template(text, undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    return template.render(**values)


def rules(example: str, minion_id: str, firewall: dict | None = None, **options: Any) -> str:
    """The rules of one host; see `context`."""
    return rendered(context(example, minion_id, firewall, **options))
