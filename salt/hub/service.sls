# JupyterHub itself. Its unit counts as started when the hub answers; students' servers and their connections outlive
# a restart.
include:
  - engine
  - hub.swarm
  - hub.users
  - hub.package
  - hub.config
  - hub.proxy

Hub unit is there:
  file.managed:
    - name: /etc/systemd/system/jupyterhub.service
    - source: salt://hub/files/jupyterhub.service
    - user: root
    - group: root
    - mode: "0644"

Hub service is running:
  service.running:
    - name: jupyterhub
    - enable: True
    - require:
      - classhub_engine: Engine service is running
      - classhub_swarm: Hub manages the swarm
      - classhub_roster: Hub users are those of the roster
      - service: Hub proxy service is running
    - watch:
      - file: Hub unit is there
      - file: Hub package is there
      - file: Hub package is on the path
      - cmd: Hub virtual environment is as locked
      - file: Hub settings are written
      - file: Hub configuration is there
      - file: Hub addresses for the units are written
      - classhub_secrets: Hub secrets are generated
