# The backup of the class, on the hub: restic, its settings, and the timers of backup, prune and drill.
# Needs: Debian's packages and the hub's virtual environment, and no class: on a new host it is applied by itself, for
# `classhub.recover` (docs/howto/back-up-and-restore.md). Without classhub:backup:repository there is none of it.
{%- if pillar["classhub"]["backup"]["repository"] %}
include:
  - backup.packages
  - backup.config
  - backup.timers
  - backup.watch
{%- else %}
include:
  - backup.missing
  - backup.clean
{%- endif %}
