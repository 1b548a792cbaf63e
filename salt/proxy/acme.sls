# A certificate of the class's domain by ACME: certbot asks for it once, through the running nginx, and a timer renews it.
# Without tls: acme there is none of it.
# Needs: proxy.service.
{%- set classhub = pillar["classhub"] %}
{%- set acme = classhub["proxy"]["acme"] %}
{%- set here = "/etc/classhub/acme" %}
include:
  - proxy.webroot
  - proxy.service

{%- if classhub["proxy"]["tls"] == "acme" %}

Proxy ACME client is installed:
  pkg.installed:
    - name: certbot
    - install_recommends: False

Proxy ACME directory is there:
  file.directory:
    - name: {{ here }}
    - user: root
    - group: root
    - mode: "0700"
    - require:
      - file: Proxy settings are written

Proxy ACME settings are written:
  file.managed:
    - name: {{ here }}/cli.ini
    - contents:
      - "# certbot's settings. Managed by Salt (salt/proxy/acme.sls)."
      - config-dir = {{ here }}/certbot
      - work-dir = /var/lib/classhub/certbot
      - logs-dir = /var/log/classhub-certbot
      - max-log-backups = 20
      - non-interactive = true
      - agree-tos = true
      {%- if acme["email"] %}
      - email = {{ acme["email"] }}
      - no-eff-email = true
      {%- else %}
      - register-unsafely-without-email = true
      {%- endif %}
      - server = {{ acme["directory"] }}
      - cert-name = {{ classhub["domain"] }}
      - authenticator = webroot
      - webroot-path = /var/lib/classhub/acme
      - deploy-hook = {{ here }}/deploy
    - user: root
    - group: root
    - mode: "0644"
    - require:
      - file: Proxy ACME directory is there

{%- if acme["ca_bundle"] %}

Proxy ACME authority's own authorities are there:
  file.managed:
    - name: {{ here }}/ca.crt
    - contents_pillar: classhub:proxy:acme:ca_bundle
    - user: root
    - group: root
    - mode: "0644"
    - require:
      - file: Proxy ACME directory is there
{%- endif %}

Proxy ACME client's environment is written:
  file.managed:
    - name: {{ here }}/environment
    - contents: {{ ("REQUESTS_CA_BUNDLE=" ~ here ~ "/ca.crt" if acme["ca_bundle"] else "# nothing") | json }}
    - user: root
    - group: root
    - mode: "0644"
    - require:
      - file: Proxy ACME directory is there

Proxy ACME hook is there:
  file.managed:
    - name: {{ here }}/deploy
    - source: salt://proxy/files/deploy-certificate
    - user: root
    - group: root
    - mode: "0755"
    - require:
      - file: Proxy ACME directory is there

Proxy certificate is obtained:
  classhub_certificate.obtained:
    - name: {{ classhub["domain"] | json }}
    - config: {{ here }}/cli.ini
    - directory: {{ acme["directory"] | json }}
    - live: {{ (here ~ "/certbot/live/" ~ classhub["domain"]) | json }}
    - deploy: {{ here }}/deploy
    - shown: /etc/classhub/nginx/tls/class.crt
    - require:
      - pkg: Proxy ACME client is installed
      - file: Proxy ACME settings are written
      - file: Proxy ACME client's environment is written
      - file: Proxy ACME hook is there
      - classhub_service: Proxy service is running

Proxy renewal is installed:
  file.managed:
    - names:
      - /etc/systemd/system/classhub-renewal.service:
        - source: salt://proxy/files/classhub-renewal.service
      - /etc/systemd/system/classhub-renewal.timer:
        - source: salt://proxy/files/classhub-renewal.timer
    - user: root
    - group: root
    - mode: "0644"

# the timer's restart alone would start the service as it was
Proxy renewal is as written:
  cmd.run:
    - name: systemctl daemon-reload
    - onlyif: systemctl show classhub-renewal.service --property NeedDaemonReload --value | grep -q yes
    - require:
      - file: Proxy renewal is installed

# also where the first certificate was not obtained: it does nothing then
Proxy renewal is scheduled:
  classhub_service.running:
    - name: classhub-renewal.timer
    - reads: [/etc/systemd/system/classhub-renewal.timer]
    - require:
      - cmd: Proxy renewal is as written
{%- else %}

Proxy renewal is not scheduled:
  service.dead:
    - name: classhub-renewal.timer
    - enable: False
    - onlyif: test -e /etc/systemd/system/classhub-renewal.timer

Proxy renewal is absent:
  file.absent:
    - names:
      - /etc/systemd/system/classhub-renewal.timer
      - /etc/systemd/system/classhub-renewal.service
    - require:
      - service: Proxy renewal is not scheduled
{%- endif %}
