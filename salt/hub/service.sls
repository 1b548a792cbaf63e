# JupyterHub itself. Its unit counts as started when the hub answers; students' servers and their connections outlive
# a restart.
include:
  - engine
  - hub.swarm
  - hub.users
  - hub.logins
  - hub.package
  - hub.config
  - hub.proxy
  - course.exchange

Hub unit is there:
  file.managed:
    - name: /etc/systemd/system/jupyterhub.service
    - source: salt://hub/files/jupyterhub.service
    - user: root
    - group: root
    - mode: "0644"

Hub service is running:
  classhub_service.running:
    - name: jupyterhub
    - reads:
      - /etc/systemd/system/jupyterhub.service
      - /etc/jupyterhub/classhub.json
      - /etc/jupyterhub/jupyterhub_config.py
      - /etc/jupyterhub/jupyterhub_config.d
      - /etc/jupyterhub/listen.env
      - /etc/jupyterhub/secrets.env
      - /var/lib/jupyterhub/cookie_secret
      - /opt/jupyterhub/classhub-package
      - /opt/jupyterhub/requirements.sha256
    - require:
      - classhub_service: Engine service is running
      - classhub_swarm: Hub manages the swarm
      - classhub_roster: Hub users are those of the roster
      # servers mount their student's part
      - classhub_course: Course exchange is laid out
      - classhub_service: Hub proxy service is running
      - file: Hub unit is there
      - file: Hub package is on the path
      - file: Hub settings are written
      - file: Hub configuration is there
      - file: Hub addresses for the units are written
      - classhub_secrets: Hub secrets are generated
      - file: Hub logins are those of the roster
