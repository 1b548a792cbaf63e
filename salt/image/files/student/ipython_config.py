# Settings of every kernel: the home may be NFS, on which SQLite locks up, and the image is read-only.
import os
import shutil
from pathlib import Path

c = get_config()  # noqa: F821

c.HistoryManager.hist_file = "/tmp/ipython-history.sqlite"

# matplotlib looks through all fonts at its first import, unless it finds the list; the image has it ready
cache = Path(os.environ.get("MPLCONFIGDIR", "/tmp/matplotlib"))
for font_list in Path("/opt/jupyter/share/matplotlib").glob("fontlist-*.json"):
    if not (cache / font_list.name).exists():
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        staged = cache / f"{font_list.name}.{os.getpid()}"
        shutil.copyfile(font_list, staged)
        staged.rename(cache / font_list.name)
