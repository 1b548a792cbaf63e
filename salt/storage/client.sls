# A node's side of the class's filesystem: mounted with driver nfs, and proved to be the hub's with every driver.
# Needs: common. Waits for the hub, no longer than classhub:storage:wait.
{%- set classhub = pillar["classhub"] %}
{%- set storage = classhub["storage"] %}
{%- set hub = classhub["hub_host"] %}
include:
  - check

{%- if storage["driver"] == "nfs" %}

Storage client package is installed:
  pkg.installed:
    - name: nfs-common

# whatever touches a mount whose server is away hangs, this run's other states too
Storage answers where it is mounted:
  classhub_filesystem.answering:
    - name: /home

Storage of the hub is mounted:
  mount.mounted:
    - name: /home
    - device: {{ hub["address"] }}:/home
    - fstype: nfs4
    - opts: {{ (storage["nfs_options"] + ["_netdev", "retry=0"]) | json }}
    - persist: False
    - mkmnt: True
    # the hub may still be installing its server; with retry=0 mount itself does not wait
    - retry:
        attempts: {{ (storage["wait"] / 10) | round(0, "ceil") | int }}
        interval: 10
        until: True
    - require:
      - pkg: Storage client package is installed
      - classhub_filesystem: Storage answers where it is mounted
    - require_in:
      - classhub_filesystem: Storage is the class's filesystem

# with bg, systemd holds up nothing but what needs the homes, and tries until the hub is there
Storage of the hub is mounted at boot:
  mount.fstab_present:
    - name: {{ hub["address"] }}:/home
    - fs_file: /home
    - fs_vfstype: nfs4
    - fs_mntops: {{ (storage["nfs_options"] + ["_netdev", "bg"]) | join(",") | json }}
    - mount: False
    - require:
      - mount: Storage of the hub is mounted

# after a boot without the hub a node must not look ready: its engine waits for the homes
Storage comes before the engine at boot:
  file.managed:
    - name: /etc/systemd/system/docker.service.d/classhub.conf
    - contents: |
        # Managed by Salt (salt/storage/client.sls).
        [Unit]
        RequiresMountsFor=/home
    - user: root
    - group: root
    - mode: "0644"
    - makedirs: True
{%- endif %}

Storage is the class's filesystem:
  classhub_filesystem.verified:
    - name: /home
    - hub: {{ hub["id"] | json }}
    - wait: {{ storage["wait"] }}
