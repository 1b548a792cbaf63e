# TLS on the class's network, in front of the hub and of its proxy: stunnel, which reads a new certificate without a
# restart, so that none cuts a student's connection.
# Needs: the hub's authority.
{%- set classhub = pillar["classhub"] %}
{%- set address, ports = classhub["address"], classhub["hub"] %}
include:
  - hub.packages
  - hub.authority
  - hub.proxy

Hub TLS has a directory:
  file.directory:
    - name: /etc/classhub/stunnel
    - user: root
    - group: root
    - mode: "0755"
    - makedirs: True

Hub TLS has a certificate:
  classhub_certificate.issued:
    - name: /etc/classhub/stunnel/hub.pem
    - authority: /etc/classhub/ca/current.pem
    - subject: hub.classhub.internal
    - user: stunnel4
    - group: stunnel4
    - require:
      - pkg: Hub packages are installed
      - file: Hub TLS has a directory
      - classhub_certificate: Hub authority is there

Hub TLS settings are written:
  file.managed:
    - name: /etc/classhub/stunnel/stunnel.conf
    - source: salt://hub/files/stunnel.conf.jinja
    - template: jinja
    - context:
        address: {{ address | json }}
        port: {{ ports["port"] }}
        tls_port: {{ ports["tls_port"] }}
        api_port: {{ ports["api_port"] }}
    - user: root
    - group: root
    - mode: "0644"
    - require:
      - file: Hub TLS has a directory

Hub TLS unit is there:
  file.managed:
    - name: /etc/systemd/system/classhub-tls.service
    - source: salt://hub/files/classhub-tls.service
    - user: root
    - group: root
    - mode: "0644"

Hub TLS is running:
  classhub_service.running:
    - name: classhub-tls
    - reads:
      - /etc/systemd/system/classhub-tls.service
      - /etc/classhub/stunnel/stunnel.conf
    - rereads: [/etc/classhub/stunnel/hub.pem]
    - require:
      - pkg: Hub packages are installed
      # it had the address and port to itself
      - classhub_service: Hub proxy service is running
      - file: Hub TLS settings are written
      - file: Hub TLS unit is there
      - classhub_certificate: Hub TLS has a certificate
