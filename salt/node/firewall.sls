# What students' containers may reach, and who may reach them: the hub reaches servers, servers reach the hub's API
# and the world; neither each other, nor the class's hosts, nor the Salt master, nor a cloud's metadata address.
# An own nftables table: Docker rewrites its rules at each start and never touches ours.
# Needs: common (nftables).
{%- set classhub = pillar["classhub"] %}
{%- set hub = classhub["hub_host"]["address"] %}

Node firewall rules are written:
  file.managed:
    - name: /etc/classhub/node.nft
    - source: salt://node/files/node.nft.jinja
    - template: jinja
    - context:
        bridge: docker0
        hub: {{ hub | json }}
        api_port: {{ classhub["hub"]["api_port"] }}
        hosts: {{ classhub["hosts"].values() | map(attribute="address") | sort | json }}
        master: {{ grains["master"] | json }}
    - user: root
    - group: root
    - mode: "0644"
    - makedirs: True
    - check_cmd: /usr/sbin/nft --check --file

Node firewall unit is installed:
  file.managed:
    - name: /etc/systemd/system/classhub-firewall.service
    - source: salt://node/files/classhub-firewall.service
    - user: root
    - group: root
    - mode: "0644"

# not Requires: a restart of the firewall would restart the engine, and end every server
Node firewall comes before the engine at boot:
  file.managed:
    - name: /etc/systemd/system/docker.service.d/classhub-firewall.conf
    - contents: |
        # Managed by Salt (salt/node/firewall.sls): a node whose rules cannot be loaded runs no server.
        [Unit]
        Wants=classhub-firewall.service
        After=classhub-firewall.service
        [Service]
        ExecStartPre=/usr/sbin/nft list table inet classhub
    - user: root
    - group: root
    - mode: "0644"
    - makedirs: True
    - require:
      - classhub_service: Node firewall is in force

Node firewall is in force:
  classhub_service.running:
    - name: classhub-firewall
    - rereads:
      - /etc/classhub/node.nft
      - /etc/systemd/system/classhub-firewall.service
    - require:
      - file: Node firewall rules are written
      - file: Node firewall unit is installed
