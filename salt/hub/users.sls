# The people of the roster as system users of the hub, with homes and uids that are theirs for ever.
# Needs: storage, where the homes are.
include:
  - storage
  - hub.logins

Hub users are those of the roster:
  classhub_roster.applied:
    - name: roster
    - drops: {{ pillar.get("classhub_drops", 0) | int }}
    - require:
      - classhub_filesystem: Storage marker is on the filesystem

# their shell lets nobody in, and this ends forwarding as well; without an SSH server it waits for one
Hub users have no SSH:
  file.managed:
    - name: /etc/ssh/sshd_config.d/classhub.conf
    - contents: |
        # Managed by Salt (salt/hub/users.sls).
        DenyGroups {{ pillar["classhub"]["roster"]["groups"].values() | sort | join(" ") }} classhub-left
    - user: root
    - group: root
    - mode: "0644"
    - makedirs: True

Hub SSH server knows it:
  cmd.run:
    - name: systemctl reload ssh
    - onlyif: systemctl is-active --quiet ssh
    - onchanges:
      - file: Hub users have no SSH
