# Settings of every student's server. The home may be NFS: no SQLite there, and no way to fill it unseen. It may also be
# full: a server starts, opens notebooks and deletes files then, and what cannot be saved costs nothing that is there.
import contextlib
import errno
import os
import shutil

from jupyter_client.session import Session
from jupyter_server.services.contents.filecheckpoints import AsyncFileCheckpoints
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from tornado.web import HTTPError

c = get_config()  # noqa: F821

# signatures of trusted notebooks: SQLite locks up on NFS. They end with the server, and so may their key
c.NotebookNotary.db_file = ":memory:"
c.NotebookNotary.secret = os.urandom(64)
# a trash in the home counts against the quota, and students do not find it
c.FileContentsManager.delete_to_trash = False

c.TerminalManager.cull_inactive_timeout = 3600
c.TerminalManager.cull_interval = 300


class Running:
    """What runs in a kernel, by what it says of each request: busy, and idle at its end."""

    def __init__(self):
        self.requests, self.process = {}, None

    def note(self, told):
        process = told["header"]["session"]
        if process != self.process:  # what ran in one that ended runs no more
            self.requests, self.process = {}, process
        state, parent = told["content"]["execution_state"], told["parent_header"]
        if state == "idle":
            self.requests.pop(parent["msg_id"], None)
        elif state == "busy":
            # one at a time: an earlier one has ended, and its word was lost
            kind = (parent["msg_type"], parent.get("subshell_id"))
            others = {request: of for request, of in self.requests.items() if of != kind}
            self.requests = others | {parent["msg_id"]: kind}


class Kernels(AsyncMappingKernelManager):
    """Kernels that are busy as long as anything runs in them: idle servers are stopped by it.

    Jupyter Server takes a kernel's last word as its state. JupyterLab asks a kernel that shows a widget for a subshell,
    and what the subshell answers is idle at once, while the cell computes on.
    """

    def start_watching_activity(self, kernel_id):
        super().start_watching_activity(kernel_id)
        kernel, running = self._kernels[kernel_id], Running()
        session = Session(config=kernel.session.config, key=kernel.session.key)

        def look(frames):
            told = session.deserialize(session.feed_identities(frames)[1])
            asked = told["parent_header"].get("msg_type")
            if told["header"]["msg_type"] == "status" and asked and self.track_message_type(asked):
                running.note(told)

        def died():
            running.requests, kernel.execution_state = {}, "starting"

        kernel.running, kernel.states = running, kernel.connect_iopub()
        kernel.states.on_recv(look)
        self.add_restart_callback(kernel_id, died, "restart")

    def stop_watching_activity(self, kernel_id):
        super().stop_watching_activity(kernel_id)
        states = getattr(self._kernels[kernel_id], "states", None)
        if states and not states.closed():
            states.close()

    def kernel_model(self, kernel_id):
        model = super().kernel_model(kernel_id)
        running = getattr(self._kernels[kernel_id], "running", None)
        return model | ({"execution_state": "busy"} if running and running.requests else {})


c.ServerApp.kernel_manager_class = Kernels

FULL = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def beside(path):
    """A name beside a file: what is written to it takes the file's place at the end, or goes if anything fails.

    Jupyter's own way writes over the file. That the disk is full, or the quota used up, is told when the data is flushed,
    over NFS always: the file is torn then, and the next try to save puts the torn one over the hidden copy of it.
    """
    path = os.path.realpath(path)
    folder, name = os.path.split(path)
    new = os.path.join(folder, f".~{name}")
    try:
        yield new
        if os.path.exists(path):
            shutil.copymode(path, new)
        os.replace(new, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(new)
        raise


@contextlib.contextmanager
def in_words(path):
    """A full disk as a sentence, which JupyterLab shows."""
    try:
        yield
    except (HTTPError, OSError) as error:
        cause = error.__cause__ if isinstance(error, HTTPError) else error
        if getattr(cause, "errno", None) not in FULL:
            raise
        why = "the disk is full" if cause.errno == errno.ENOSPC else "your quota is used up"
        words = f"{path.strip('/')}: {why}. Delete files that you do not need, then save again."
        raise HTTPError(507, words) from error


class Checkpoints(AsyncFileCheckpoints):
    """Copies that appear whole: of a file as its checkpoint, and of a checkpoint as the file."""

    async def _copy(self, src, dest):
        with beside(dest) as new:
            await super()._copy(src, new)

    async def list_checkpoints(self, path):
        """None where there is no room for their folder, which Jupyter makes to look into it. JupyterLab asks for them
        whenever it opens a file."""
        try:
            return await super().list_checkpoints(path)
        except OSError as error:
            if error.errno not in FULL:
                raise
            return []


class Contents(AsyncLargeFileManager):
    """Files that stay as they are until the new ones are written."""

    @contextlib.contextmanager
    def atomic_writing(self, os_path, text=True, encoding="utf-8"):
        folder = os.path.dirname(os.path.realpath(os_path))
        if os.path.exists(os_path) and not os.access(folder, os.W_OK):
            with super().atomic_writing(os_path, text=text, encoding=encoding) as file:
                yield file
            return
        how = {"mode": "w", "encoding": encoding, "newline": "\n"} if text else {"mode": "wb"}
        with self.perm_to_403(os_path), beside(os_path) as new, open(new, **how) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())

    async def save(self, model, path=""):
        with in_words(path):
            return await super().save(model, path)

    async def create_checkpoint(self, path):
        """JupyterLab wants one whenever it opens a file, and after each save: without room an older one has to do, or
        none, which is told when somebody goes back to it."""
        try:
            return await super().create_checkpoint(path)
        except OSError as error:
            if error.errno not in FULL:
                raise
        older = await self.checkpoints.list_checkpoints(path)
        changed = (await self.get(path, content=False))["last_modified"]
        return older[0] if older else {"id": "checkpoint", "last_modified": changed}

    async def restore_checkpoint(self, checkpoint_id, path):
        with in_words(path):
            return await super().restore_checkpoint(checkpoint_id, path)


c.ServerApp.contents_manager_class = Contents
c.ContentsManager.checkpoints_class = Checkpoints
