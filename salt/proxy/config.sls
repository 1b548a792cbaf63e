# nginx's settings and its outage page.
# Needs: nothing.
{%- set classhub = pillar["classhub"] %}
include:
  - check

Proxy settings are written:
  file.managed:
    - name: /etc/classhub/nginx/nginx.conf
    - source: salt://proxy/files/nginx.conf.jinja
    - template: jinja
    - context:
        domain: {{ classhub["domain"] | json }}
        hub_address: {{ classhub["hub_host"]["address"] | json }}
        hub_port: {{ classhub["hub"]["port"] }}
        tls_port: {{ classhub["hub"]["tls_port"] }}
        acme: {{ (classhub["proxy"]["tls"] == "acme") | json }}
        proxy:
          body_size: {{ classhub["proxy"]["body_size"] | lower | json }}
          hsts: {{ classhub["proxy"]["hsts"] }}
          sign_in_rate: {{ classhub["proxy"]["sign_in_rate"] }}
          sign_in_burst: {{ classhub["proxy"]["sign_in_burst"] }}
    - user: root
    - group: root
    - mode: "0644"
    - makedirs: True

Proxy outage page is there:
  file.managed:
    - name: /etc/classhub/nginx/outage.html
    - source: salt://proxy/files/outage.html
    - user: root
    - group: root
    - mode: "0644"
    - makedirs: True
