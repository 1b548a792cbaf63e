"""The store in which a built image travels: one archive and one note about it for each recipe."""

import json
import os
import shutil
from pathlib import Path

# what the file system itself needs beside an archive
_SPARE = 256 * 2**20


def archive(store: str, name: str, recipe: str) -> Path:
    """Where the image ``name`` of ``recipe`` lies in ``store``."""
    return Path(store) / f"{name}-{recipe}.tar"


def note(path: Path) -> dict:
    """What is written about the archive at ``path``: ``recipe``, ``id``, ``size``; empty unless it is whole.

    The note is written after the archive, so an archive without one was never finished.
    """
    try:
        answer = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        return answer if path.stat().st_size == answer["size"] else {}
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return {}


def missing_room(store: str, size: int) -> int:
    """Bytes that ``store`` lacks for an archive of ``size`` bytes; 0 when it fits."""
    return max(0, size + _SPARE - shutil.disk_usage(store).free)


def seal(staged: Path, path: Path, recipe: str, image_id: str) -> None:
    """Make the finished archive ``staged`` the one at ``path``, with its note, so that a power cut leaves it whole."""
    staged.chmod(0o644)
    with staged.open("rb") as stream:
        os.fsync(stream.fileno())
    discard(path)
    staged.rename(path)
    about = {"recipe": recipe, "id": image_id, "size": path.stat().st_size}
    write(path.with_suffix(".json"), json.dumps(about) + "\n")


def discard(path: Path) -> None:
    """Remove the archive at ``path``; its note first, so that no note outlives its archive."""
    path.with_suffix(".json").unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def write(path: Path, text: str) -> None:
    """Replace the file at ``path`` by ``text``, readable by all, at once and durably."""
    staged = path.with_name(f".{path.name}.new")
    with staged.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    staged.chmod(0o644)
    staged.rename(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
