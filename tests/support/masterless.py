"""The tree's own states and modules, loaded by real Salt without a master, as one minion of an example class."""

from pathlib import Path

import salt.client
import salt.config

from tests.support.loading import ROOT


def caller(
    example: str, minion_id: str, scratch: Path, pillar_root: Path | None = None
) -> salt.client.Caller:
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
    return salt.client.Caller(mopts=opts)
