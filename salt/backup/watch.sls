# How the last backup, prune and drill ended is looked at in each run: what failed or is overdue is a warning. The hub
# runs all the same. Last, and without the repository, which may be out of reach.
include:
  - backup.timers

Backup is well:
  classhub_backup.watched:
    - name: backup
