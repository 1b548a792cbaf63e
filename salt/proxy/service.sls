# nginx's container, kept by systemd: a new image restarts it, new settings or a new certificate reload it.
# Needs: proxy.image, proxy.certificate, proxy.config, proxy.authority.
{%- set tls = "file" if pillar["classhub"]["proxy"]["tls"] == "files" else "x509" %}
include:
  - engine
  - proxy.image
  - proxy.certificate
  - proxy.config
  - proxy.authority
  - proxy.webroot

Proxy service names its image:
  file.managed:
    - name: /etc/classhub/nginx-container.env
    - contents: IMAGE=classhub/nginx:{{ pillar["classhub"]["proxy"]["recipe"] }}
    - user: root
    - group: root
    - mode: "0644"
    - makedirs: True

Proxy service is installed:
  file.managed:
    - name: /etc/systemd/system/nginx-container.service
    - source: salt://proxy/files/nginx-container.service
    - user: root
    - group: root
    - mode: "0644"

Proxy service is running:
  classhub_service.running:
    - name: nginx-container
    - reads:
      - /etc/systemd/system/nginx-container.service
      - /etc/classhub/nginx-container.env
    - rereads: [/etc/classhub/nginx]
    - require:
      - classhub_service: Engine service is running
      - classhub_image: Proxy image is built
      - file: Proxy service names its image
      - file: Proxy service is installed
      - file: Proxy settings are written
      - file: Proxy outage page is there
      - {{ tls }}: Proxy certificate is there
      - classhub_certificate: Proxy trusts the hub
      - file: Proxy has a place for challenges
