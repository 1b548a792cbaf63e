# Who reaches this host, what students' servers reach, and who reaches them. What the host itself begins is never
# refused: a fault in the settings cannot cut its minion off.
# Comes before the engine: no container runs without it.
{%- set classhub = pillar["classhub"] %}
{%- set firewall = classhub["firewall"] %}
{#- a host that resolves no names has no such grain #}
{%- set names = grains.get("dns", {}).get("ip4_nameservers", []) | reject("match", "127[.]") | list %}
include:
  - common.packages

Firewall rules are written:
  file.managed:
    - name: /etc/classhub/firewall.nft
    - source: salt://firewall/files/classhub.nft.jinja
    - template: jinja
    - context:
        roles: {{ classhub["roles"] | json }}
        address: {{ classhub["address"] | json }}
        hosts: {{ classhub["hosts"].values() | map(attribute="address") | sort | json }}
        nodes: {{ classhub["nodes"].values() | sort | json }}
        hub: {{ classhub["hub_host"]["address"] | json }}
        proxy: {{ classhub["proxy_host"]["address"] | json }}
        master: {{ grains["master"] | json }}
        is_master: {{ (grains["master"] in grains["ipv4"]) | json }}
        # by TLS; the proxy speaks to the hub itself, too: only so it sees when the hub is down
        hub_ports: {{ [classhub["hub"]["port"], classhub["hub"]["tls_port"]] | json }}
        api_port: {{ classhub["hub"]["api_port"] }}
        nfs: {{ (classhub["storage"]["driver"] == "nfs") | json }}
        inbound: {{ firewall["inbound"] | json }}
        egress: {{ firewall["egress"] | json }}
        outbound: {{ firewall["outbound"] | json }}
        # as Docker does: a server gets the host's resolvers, and these where the host has only its own
        resolvers: {{ (names or ["8.8.8.8", "8.8.4.4"]) | json }}
    - user: root
    - group: root
    - mode: "0644"
    - makedirs: True
    - check_cmd: /usr/sbin/nft --check --file
    - require:
      - pkg: Common packages are installed

Firewall unit is installed:
  file.managed:
    - name: /etc/systemd/system/classhub-firewall.service
    - source: salt://firewall/files/classhub-firewall.service
    - user: root
    - group: root
    - mode: "0644"

Firewall is in force:
  classhub_service.running:
    - name: classhub-firewall
    - rereads:
      - /etc/classhub/firewall.nft
      - /etc/systemd/system/classhub-firewall.service
    - require:
      - file: Firewall rules are written
      - file: Firewall unit is installed

# the service only says that they were loaded once
Firewall rules are still loaded:
  cmd.run:
    - name: nft --file /etc/classhub/firewall.nft
    - unless: nft list table inet classhub
    - require:
      - classhub_service: Firewall is in force

# not Requires: a restart of the firewall would restart the engine, and end every server
Firewall comes before the engine at boot:
  file.managed:
    - name: /etc/systemd/system/docker.service.d/classhub-firewall.conf
    - contents: |
        # Managed by Salt (salt/firewall/rules.sls): a host whose rules cannot be loaded runs no container.
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
      - classhub_service: Firewall is in force
