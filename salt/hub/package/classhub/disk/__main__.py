"""The disk's verbs: `python -m classhub.disk <verb>`. They answer as those of classhub.course do."""

import sys

from classhub.course.__main__ import main

if __name__ == "__main__":
    sys.exit(main(modules=("disk.quotas", "disk.watch")))
