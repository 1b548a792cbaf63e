# The hub's own certificate authority, by which the class's proxy host knows the hub, and the one that follows it. Keys
# stay here; the certificates of both go over the mine to the proxy host alone.
# Needs: hub.account. Early in the hub's run, because the proxy host waits for it.
{%- set classhub = pillar["classhub"] %}

include:
  - hub.account

Hub authority has a directory:
  file.directory:
    - name: /etc/classhub/ca
    - user: root
    - group: root
    - mode: "0700"
    - require:
      - file: Hub has a directory for the class's settings

Hub authority is there:
  classhub_certificate.authority:
    - name: /etc/classhub/ca
    - require:
      - file: Hub authority has a directory

Hub authority is published to the proxy:
  classhub_mine.published:
    - name: classhub_hub_authorities
    - function: classhub_certificate.authorities
    - readers: {{ [classhub["proxy_host"]["id"]] | json }}
    - require:
      - classhub_certificate: Hub authority is there
