"""The tree's own states and modules, loaded by real Salt without a master, as one minion of an example class.

Each call is a `salt-call` of its own: several minions in one process would render each other's states.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.loading import ROOT


@dataclass
class Caller:
    """``salt-call --local`` with a configuration."""

    config: Path

    def cmd(self, function: str, /, *args: Any, **kwargs: Any) -> Any:
        """What the function returns; AssertionError with Salt's output where that is no answer."""
        words = [_word(arg) for arg in args] + [f"{k}={_word(v)}" for k, v in kwargs.items()]
        command = [Path(sys.executable).parent / "salt-call", f"--config-dir={self.config}"]
        done = subprocess.run(
            [*command, "--local", "--out=json", "--log-level=error", function, *words],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            cwd=self.config,
        )
        try:
            return json.loads(done.stdout)["local"]
        except (ValueError, KeyError):
            raise AssertionError(f"{function}: {done.stdout}\n{done.stderr}") from None


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def caller(
    example: str,
    minion_id: str,
    scratch: Path,
    pillar_root: Path | None = None,
    own_modules: Path | None = None,
    **options: Any,
) -> Caller:
    """``minion_id`` of ``pillar/example/<example>``.

    Args:
        example: name of the example class.
        minion_id: which of its hosts to be.
        scratch: directory for Salt's own files.
        pillar_root: a pillar root that is read before the example's.
        own_modules: a directory whose `_modules` and the like are used rather than the tree's.
        options: of the minion's configuration.
    """
    roots = [str(pillar_root)] if pillar_root else []
    config = scratch / f"etc-{example}-{minion_id}"
    config.mkdir(parents=True)
    settings = {
        "id": minion_id,
        "root_dir": str(scratch / f"root-{example}-{minion_id}"),
        "file_client": "local",
        "file_roots": {"base": [str(ROOT / "salt")]},
        "pillar_roots": {
            "base": [*roots, str(ROOT / "pillar/example" / example), str(ROOT / "pillar")]
        },
        "module_dirs": [str(path) for path in (ROOT, own_modules) if path],  # the last one wins
        "pillar_dirs": [str(ROOT / "_pillar")],
        "ext_pillar": [{"classhub": {}}],
        "enable_gpu_grains": False,
        "enable_fqdns_grains": False,
        "master": "192.0.2.1",
        **options,
    }
    (config / "minion").write_text(json.dumps(settings), encoding="utf-8")
    return Caller(config)
