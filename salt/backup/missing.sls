# A class without a backup is told so in each run of the hub's states.
include:
  - check

Backup is missing:
  test.configurable_test_state:
    - name: backup
    - changes: False
    - result: True
    - comment: This class has no backup
    - warnings: >-
        This class has no backup: what is lost is lost. Give classhub:backup:repository in pillar
        (docs/howto/back-up-and-restore.md).
