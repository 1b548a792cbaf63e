# Extra certificate authorities of the site (a campus that inspects TLS), trusted by the host.
# Needs: nothing. Each certificate has a file of its own, as update-ca-certificates wants; bootstrap.sh writes the same.
{%- set begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----" %}
{%- set certificates = pillar["classhub"]["site"]["ca_bundle"].split(end)[:-1] %}
{%- set folder = "/usr/local/share/ca-certificates/classhub" %}
{%- set stamp = folder ~ ".built" %}
{%- set wanted = certificates | join | sha256 %}
include:
  - check

Common trust tools are installed:
  pkg.installed:
    - name: ca-certificates

{%- for certificate in certificates %}

Common trust in site authority {{ loop.index }}:
  file.managed:
    - name: {{ folder }}/site-{{ loop.index }}.crt
    - contents: {{ (begin ~ certificate.split(begin)[1] ~ end) | json }}
    - user: root
    - group: root
    - mode: "0644"
    - makedirs: True
    - require:
      - pkg: Common trust tools are installed
    - require_in:
      - file: Common trust is in no other site authority
{%- endfor %}

Common trust is in no other site authority:
  file.directory:
    - name: {{ folder }}
    - user: root
    - group: root
    - mode: "0755"
    - clean: True

# The stamp lets test=True tell it before the files are there; the age finds what was changed on the host meanwhile.
Common trust store is current:
  cmd.run:
    - name: update-ca-certificates --fresh && echo {{ wanted }} > {{ stamp }}
    - unless: grep -qx {{ wanted }} {{ stamp }} && ! find {{ folder }} -newer /etc/ssl/certs/ca-certificates.crt | grep -q .
    - require:
      - file: Common trust is in no other site authority
