"""The tree's own states and modules, loaded by real Salt without a master, as one minion of an example class."""

from pathlib import Path

import salt.client
import salt.config
from salt.utils.jinja import SaltCacheLoader

from tests.support.loading import ROOT


class Caller(salt.client.Caller):
    """A caller that may take turns with others in one process."""

    def cmd(self, fun, *args, **kwargs):
        # Jinja's loader keeps the file client of whoever came first: `import_yaml` would read that one's class
        SaltCacheLoader._cached_pillar_client = None
        SaltCacheLoader._cached_client = None
        return super().cmd(fun, *args, **kwargs)


def caller(example: str, minion_id: str, scratch: Path, pillar_root: Path | None = None) -> Caller:
    """A ``salt-call --local`` of ``minion_id`` in ``pillar/example/<example>``.

    Args:
        example: name of the example class.
        minion_id: which of its hosts to be.
        scratch: directory for Salt's own files.
        pillar_root: a pillar root that is read before the example's.
    """
    opts = salt.config.minion_config(None, minion_id=minion_id)
    roots = [str(pillar_root)] if pillar_root else []
    overrides = {
        "id": minion_id,
        "root_dir": str(scratch),
        "cachedir": str(scratch / "cache"),
        "pki_dir": str(scratch / "pki"),
        "extension_modules": str(scratch / "cache/extmods"),
        "file_client": "local",
        "file_roots": {"base": [str(ROOT / "salt")]},
        "pillar_roots": {
            "base": [*roots, str(ROOT / "pillar/example" / example), str(ROOT / "pillar")]
        },
        "module_dirs": [str(ROOT)],
        "pillar_dirs": [str(ROOT / "_pillar")],
        "ext_pillar": [{"classhub": {}}],
        "enable_gpu_grains": False,
        "enable_fqdns_grains": False,
        "log_level": "error",
        "master": "192.0.2.1",
    }
    for key, value in overrides.items():
        opts[key] = value
    return Caller(mopts=opts)
