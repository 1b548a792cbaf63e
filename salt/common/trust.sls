# Extra certificate authorities of the site (a campus that inspects TLS), trusted by the host.
# Needs: nothing. Each certificate has a file of its own, as update-ca-certificates wants.
{%- set classhub = pillar["classhub"] %}
{%- set end = "-----END CERTIFICATE-----" %}
{%- set certificates = classhub["site"]["ca_bundle"].split(end)[:-1] %}

Common trust tools are installed:
  pkg.installed:
    - name: ca-certificates

{%- for certificate in certificates %}

Common trust in site authority {{ loop.index }}:
  file.managed:
    - name: /usr/local/share/ca-certificates/classhub-site-{{ loop.index }}.crt
    - contents: {{ (certificate ~ end) | trim | json }}
    - user: root
    - group: root
    - mode: "0644"
    - require:
      - pkg: Common trust tools are installed
{%- endfor %}
{%- if certificates %}

Common trust store is current:
  cmd.run:
    - name: update-ca-certificates
    - onchanges:
      {%- for certificate in certificates %}
      - file: Common trust in site authority {{ loop.index }}
      {%- endfor %}
{%- endif %}
