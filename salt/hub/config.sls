# What the hub and its proxy read at start: the class's settings as data, and secrets that never leave this host.
# Passwords and client secrets are among the settings, hence the modes.
{%- set classhub = pillar["classhub"] %}
include:
  - hub.account

Hub settings are written:
  file.serialize:
    - name: /etc/jupyterhub/classhub.json
    - serializer: json
    - dataset:
        address: {{ classhub["address"] | json }}
        domain: {{ classhub["domain"] | json }}
        public_certificate: {{ classhub["public_certificate"] | json }}
        groups: {{ classhub["roster"]["groups"] | json }}
        access_servers: {{ classhub["staff"]["access_servers"] | json }}
        staff: {{ [classhub["roster"]["groups"]["grader"], classhub["roster"]["groups"]["instructor"]] | json }}
        course: {{ {"id": classhub["course"]["id"], "title": classhub["course"]["title"], "timezone": classhub["course"]["timezone"]} | json }}
        exchange: /home/.classhub/exchange
        server: {{ classhub["server"] | json }}
        hub: {{ classhub["hub"] | json }}
    - user: root
    - group: jupyterhub
    - mode: "0640"
    - show_changes: False
    - require:
      - user: Hub account is there
      - file: Hub settings directory is there

Hub configuration is there:
  file.managed:
    - name: /etc/jupyterhub/jupyterhub_config.py
    - source: salt://hub/files/jupyterhub_config.py
    - user: root
    - group: root
    - mode: "0644"
    - require:
      - file: Hub settings directory is there

Hub addresses for the units are written:
  file.managed:
    - name: /etc/jupyterhub/listen.env
    - contents:
      - CLASSHUB_ADDRESS={{ classhub["address"] }}
      - CLASSHUB_PORT={{ classhub["hub"]["port"] }}
      - CLASSHUB_API_PORT={{ classhub["hub"]["api_port"] }}
      - CLASSHUB_PROXY_API_PORT={{ classhub["hub"]["proxy_api_port"] }}
    - user: root
    - group: root
    - mode: "0644"
    - require:
      - file: Hub settings directory is there

Hub secrets are generated:
  classhub_secrets.generated:
    - name: /etc/jupyterhub/secrets.env
    - keys:
      - CONFIGPROXY_AUTH_TOKEN
      - CLASSHUB_PROXY_SYNC_TOKEN
      - CLASSHUB_ADMIN_TOKEN
      - CLASSHUB_FORMGRADER_TOKEN
      - CLASSHUB_CULLER_TOKEN
      - CLASSHUB_DASHBOARD_TOKEN
      - CLASSHUB_DOCTOR_TOKEN
      # encrypts what the hub remembers of a sign-in
      - JUPYTERHUB_CRYPT_KEY
    - user: root
    - group: root
    - mode: "0600"
    - require:
      - file: Hub settings directory is there

Hub token of the operator is there:
  classhub_secrets.copied:
    - name: /etc/jupyterhub/operator.token
    - source: /etc/jupyterhub/secrets.env
    - key: CLASSHUB_ADMIN_TOKEN
    - user: root
    - group: root
    - mode: "0600"
    - require:
      - classhub_secrets: Hub secrets are generated

Hub token of the culler is there:
  classhub_secrets.copied:
    - name: /etc/jupyterhub/culler.token
    - source: /etc/jupyterhub/secrets.env
    - key: CLASSHUB_CULLER_TOKEN
    - user: root
    - group: root
    - mode: "0600"
    - require:
      - classhub_secrets: Hub secrets are generated

Hub token of the doctor is there:
  classhub_secrets.copied:
    - name: /etc/jupyterhub/doctor.token
    - source: /etc/jupyterhub/secrets.env
    - key: CLASSHUB_DOCTOR_TOKEN
    - user: root
    - group: root
    - mode: "0600"
    - require:
      - classhub_secrets: Hub secrets are generated

# alone, because a restart for another's secret would cut every student
Hub secret of the proxy is there:
  classhub_secrets.copied:
    - name: /etc/jupyterhub/proxy.env
    - source: /etc/jupyterhub/secrets.env
    - key: CONFIGPROXY_AUTH_TOKEN
    - prefix: "CONFIGPROXY_AUTH_TOKEN="
    - user: root
    - group: root
    - mode: "0600"
    - require:
      - classhub_secrets: Hub secrets are generated

# as a request header, for curl: a token in its arguments would be in the process list
Hub token of the proxy's unit is there:
  classhub_secrets.copied:
    - name: /etc/jupyterhub/proxy-sync.header
    - source: /etc/jupyterhub/secrets.env
    - key: CLASSHUB_PROXY_SYNC_TOKEN
    - prefix: "Authorization: token "
    - user: root
    - group: root
    - mode: "0600"
    - require:
      - classhub_secrets: Hub secrets are generated
