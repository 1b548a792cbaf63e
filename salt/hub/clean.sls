# Takes JupyterHub off the host: services, virtual environment, settings and secrets. Accounts, homes and the hub's
# database in /var/lib/jupyterhub, what is recorded in /srv/stats and people's quotas stay: they are the class's, not the installation's.
{%- for unit in ["jupyterhub", "jupyterhub-proxy", "classhub-tls", "classhub-dashboard"] %}
Hub unit {{ unit }} is stopped:
  service.dead:
    - name: {{ unit }}
    - enable: False

Hub unit {{ unit }} is absent:
  file.absent:
    - name: /etc/systemd/system/{{ unit }}.service
    - require:
      - service: Hub unit {{ unit }} is stopped
{%- endfor %}

Hub disk is watched no more:
  service.dead:
    - name: classhub-disk.timer
    - enable: False

Hub units of the disk are absent:
  file.absent:
    - names:
      - /etc/systemd/system/classhub-disk.timer
      - /etc/systemd/system/classhub-disk.service
      - /run/classhub
    - require:
      - service: Hub disk is watched no more

Hub virtual environment is absent:
  file.absent:
    - name: /opt/jupyterhub
    - require:
      - service: Hub unit jupyterhub is stopped

Hub settings are absent:
  file.absent:
    - names:
      - /etc/jupyterhub
      - /etc/classhub/ca
      - /etc/classhub/stunnel
    - require:
      - service: Hub unit classhub-tls is stopped
      - service: Hub unit jupyterhub is stopped
      - service: Hub unit jupyterhub-proxy is stopped
