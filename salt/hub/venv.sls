# JupyterHub's virtual environment, exactly as the lock (files/requirements.txt) says. A stamp with the lock's checksum
# is written last, so an interrupted or outdated installation is done again.
#
# rfc3987-syntax and lark are left out of the lock on purpose: jsonschema imports them when they are there, which
# costs the hub a second of CPU and 15 MB for checks that it never asks for. Hence --no-deps.
{%- set python = "python" ~ grains["pythonversion"][:2] | join(".") %}
include:
  - hub.packages

Hub virtual environment is there:
  cmd.run:
    # made anew when a newer Debian brings another Python
    - name: rm -f /opt/jupyterhub/requirements.sha256 && python3 -m venv --clear /opt/jupyterhub
    - creates: /opt/jupyterhub/lib/{{ python }}/site-packages/pip
    - require:
      - pkg: Hub packages are installed

{%- if pillar["classhub"]["backup"]["repository"] %}

# A newer JupyterHub brings its database up to date, and an older one cannot read that. What cannot be saved is not upgraded.
Hub is saved before its packages change:
  cmd.run:
    - name: systemctl start classhub-backup.service
    - onlyif: test -e /opt/jupyterhub/requirements.sha256 && systemctl cat classhub-backup.service
    - prereq:
      - file: Hub lock is there
{%- endif %}

Hub lock is there:
  file.managed:
    - name: /opt/jupyterhub/requirements.txt
    - source: salt://hub/files/requirements.txt
    - user: root
    - group: root
    - mode: "0644"
    - require:
      - cmd: Hub virtual environment is there

Hub virtual environment is as locked:
  cmd.run:
    - name: >-
        /opt/jupyterhub/bin/pip install --quiet --disable-pip-version-check --no-input --no-deps --require-hashes
        --requirement /opt/jupyterhub/requirements.txt
        && sha256sum /opt/jupyterhub/requirements.txt > /opt/jupyterhub/requirements.sha256
    - unless: sha256sum --check --status /opt/jupyterhub/requirements.sha256
    - env:
      - PIP_CERT: /etc/ssl/certs/ca-certificates.crt
    - require:
      - file: Hub lock is there
