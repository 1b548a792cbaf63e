# nbgrader's formgrader, for graders and instructors, beside the gradebook.
# Needs: the course's directories and the package in the hub's virtual environment. JupyterHub need not run.
{%- set classhub = pillar["classhub"] %}
include:
  - course.settings
  - hub.config
  - hub.package

# its own token alone
Course formgrader has its token:
  classhub_secrets.copied:
    - name: /etc/jupyterhub/formgrader.env
    - source: /etc/jupyterhub/secrets.env
    - key: CLASSHUB_FORMGRADER_TOKEN
    - prefix: "JUPYTERHUB_API_TOKEN="
    - user: root
    - group: root
    - mode: "0600"
    - require:
      - classhub_secrets: Hub secrets are generated

Course formgrader unit is there:
  file.managed:
    - name: /etc/systemd/system/classhub-formgrader.service
    - source: salt://course/files/classhub-formgrader.service.jinja
    - template: jinja
    - context:
        address: {{ classhub["address"] | json }}
        api_port: {{ classhub["hub"]["api_port"] | json }}
        domain: {{ classhub["domain"] | json }}
        formgrader_port: {{ classhub["hub"]["formgrader_port"] | json }}
    - user: root
    - group: root
    - mode: "0644"

Course formgrader is running:
  classhub_service.running:
    - name: classhub-formgrader
    - reads:
      - /etc/systemd/system/classhub-formgrader.service
      - /etc/jupyterhub/formgrader.env
      - /opt/jupyterhub/classhub-package
      - /opt/jupyterhub/requirements.sha256
      - /var/lib/classhub/course/nbgrader_config.py
    - require:
      - classhub_secrets: Course formgrader has its token
      - file: Course formgrader unit is there
      - file: Course configuration of nbgrader is there
      - classhub_course: Course settings are written
      - file: Hub package is on the path
