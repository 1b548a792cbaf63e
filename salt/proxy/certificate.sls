# The certificate of the class's domain: from pillar, or self-signed. With ACME (proxy.acme) a self-signed one stands in
# until the first is there: nginx must run for that. The directory is mounted into nginx's container,
# whose master process alone reads the key.
# Needs: nothing.
{%- set classhub = pillar["classhub"] %}
{%- set proxy = classhub["proxy"] %}
{%- set tls = "/etc/classhub/nginx/tls" %}
include:
  - check

Proxy certificate directory is there:
  file.directory:
    - name: {{ tls }}
    - user: root
    - group: root
    - mode: "0755"
    - makedirs: True

{%- if proxy["tls"] == "files" %}

Proxy key is there:
  file.managed:
    - name: {{ tls }}/class.key
    - contents_pillar: classhub:proxy:key
    - show_changes: False
    - user: root
    - group: root
    - mode: "0600"
    - require:
      - file: Proxy certificate directory is there

Proxy certificate is there:
  file.managed:
    - name: {{ tls }}/class.crt
    - contents_pillar: classhub:proxy:certificate
    - user: root
    - group: root
    - mode: "0644"
    - require:
      - file: Proxy certificate directory is there
{%- else %}

Proxy key is there:
  x509.private_key_managed:
    - name: {{ tls }}/class.key
    - algo: ec
    - keysize: 256
    - user: root
    - group: root
    - mode: "0600"
    - makedirs: True
    {%- if proxy["tls"] == "acme" %}
    - creates: {{ tls }}/class.crt
    {%- endif %}
    - require:
      - file: Proxy certificate directory is there

Proxy certificate is there:
  x509.certificate_managed:
    - name: {{ tls }}/class.crt
    - signing_private_key: {{ tls }}/class.key
    - subject: {{ ("CN=" ~ classhub["domain"]) | json }}
    - subjectAltName: {{ ("dns:" ~ classhub["domain"]) | json }}
    - basicConstraints: critical, CA:false
    - keyUsage: critical, digitalSignature
    - extendedKeyUsage: serverAuth
    - days_valid: 365
    - days_remaining: 30
    - user: root
    - group: root
    - mode: "0644"
    - makedirs: True
    {%- if proxy["tls"] == "acme" %}
    - creates: {{ tls }}/class.crt
    {%- endif %}
    - require:
      - x509: Proxy key is there
{%- endif %}
