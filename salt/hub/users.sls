# The people of the roster as system users of the hub, with homes and uids that are theirs for ever.
# Needs: storage, where the homes are.
include:
  - storage

Hub users are those of the roster:
  classhub_roster.applied:
    - name: roster
    - require:
      - classhub_filesystem: Storage marker is on the filesystem
