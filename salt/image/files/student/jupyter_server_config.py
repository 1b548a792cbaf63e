# Settings of every student's server. The home may be NFS: no SQLite there, and no way to fill it unseen.
c = get_config()  # noqa: F821

# signatures of trusted notebooks: SQLite locks up on NFS
c.NotebookNotary.db_file = ":memory:"
# a trash in the home counts against the quota, and students do not find it
c.FileContentsManager.delete_to_trash = False

c.TerminalManager.cull_inactive_timeout = 3600
c.TerminalManager.cull_interval = 300
