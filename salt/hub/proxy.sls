# JupyterHub's proxy, in front of the hub and of every server; on the loopback, behind hub.tls. A restart of it cuts every
# student's connection, so it happens for nothing but its own unit, addresses and secret.
include:
  - hub.packages
  - hub.config

Hub proxy unit is there:
  file.managed:
    - name: /etc/systemd/system/jupyterhub-proxy.service
    - source: salt://hub/files/jupyterhub-proxy.service
    - user: root
    - group: root
    - mode: "0644"

Hub proxy has its routes restored:
  file.managed:
    - name: /etc/jupyterhub/restore-routes
    - source: salt://hub/files/restore-routes
    - user: root
    - group: root
    - mode: "0755"
    - require:
      - file: Hub settings directory is there

Hub proxy service is running:
  classhub_service.running:
    - name: jupyterhub-proxy
    - reads:
      - /etc/systemd/system/jupyterhub-proxy.service
      - /etc/jupyterhub/listen.env
      - /etc/jupyterhub/proxy.env
    - require:
      - pkg: Hub packages are installed
      - file: Hub proxy unit is there
      - file: Hub proxy has its routes restored
      - file: Hub addresses for the units are written
      - classhub_secrets: Hub secret of the proxy is there
      - classhub_secrets: Hub token of the proxy's unit is there
