# Who uses the class, and when: the database that the nodes' events are recorded in, and the dashboard for staff.
# Needs: the package in the hub's virtual environment and the hub's secrets. JupyterHub need not run.
{%- set classhub = pillar["classhub"] %}
include:
  - hub.account
  - hub.config
  - hub.package

# what is made in it is the group's to read
Hub directory of activity is there:
  file.directory:
    - name: /srv/stats/db
    - user: root
    - group: classhub-activity
    - mode: "2750"
    - makedirs: True
    - require:
      - group: Hub group of activity is there

# its own token alone
Hub dashboard has its token:
  classhub_secrets.copied:
    - name: /etc/jupyterhub/dashboard.env
    - source: /etc/jupyterhub/secrets.env
    - key: CLASSHUB_DASHBOARD_TOKEN
    - prefix: "JUPYTERHUB_API_TOKEN="
    - user: root
    - group: root
    - mode: "0600"
    - require:
      - classhub_secrets: Hub secrets are generated

Hub dashboard unit is there:
  file.managed:
    - name: /etc/systemd/system/classhub-dashboard.service
    - source: salt://hub/files/classhub-dashboard.service.jinja
    - template: jinja
    - context:
        address: {{ classhub["address"] | json }}
        api_port: {{ classhub["hub"]["api_port"] | json }}
        domain: {{ classhub["domain"] | json }}
        dashboard_port: {{ classhub["hub"]["dashboard_port"] | json }}
    - user: root
    - group: root
    - mode: "0644"

Hub dashboard is running:
  classhub_service.running:
    - name: classhub-dashboard
    - reads:
      - /etc/systemd/system/classhub-dashboard.service
      - /etc/jupyterhub/dashboard.env
      - /opt/jupyterhub/classhub-package
      - /opt/jupyterhub/requirements.sha256
    - require:
      - classhub_secrets: Hub dashboard has its token
      - file: Hub dashboard unit is there
      - file: Hub directory of activity is there
      - file: Hub package is on the path
