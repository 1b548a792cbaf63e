# Docker Engine, with the class's address ranges and log limits from its very first start.
# Needs: common. Never upgrades or restarts an engine that students' servers run on (a node's engine takes them with it).
# Without icc, students' containers on one node cannot reach each other.
{%- set classhub = pillar["classhub"] %}
{%- set engine = classhub["engine"] %}
include:
  - check

Engine settings are written:
  file.serialize:
    - name: /etc/docker/daemon.json
    - serializer: json
    - dataset:
        bip: {{ engine["bip"] | json }}
        default-address-pools: {{ engine["address_pools"] | json }}
        log-driver: json-file
        log-opts:
          max-size: {{ engine["log_max_size"] | json }}
          max-file: {{ engine["log_max_file"] | string | json }}
        icc: false
        no-new-privileges: true
        userland-proxy: false
        {%- if "node" in classhub["roles"] %}
        labels: [classhub.node=true]
        {%- endif %}
    - user: root
    - group: root
    - mode: "0644"
    - makedirs: True

Engine package is installed:
  pkg.installed:
    - pkgs:
      - docker.io
      {%- if grains["osmajorrelease"] >= 13 %}
      - docker-cli
      - docker-buildx
      {%- endif %}
      - apparmor
      - iptables
    - install_recommends: False
    - require:
      - file: Engine settings are written

{%- if "node" in classhub["roles"] %}

# an upgrade needs a restart of the engine, which ends the servers of the node: salt-run classhub.upgrade_engines
Engine packages are held:
  classhub_engine.held:
    - name: engine
    - packages: [docker.io, containerd, runc]
    - require:
      - pkg: Engine package is installed
{%- endif %}

Engine service is running:
  classhub_service.running:
    - name: docker
    - reads: [/etc/docker/daemon.json]
    - spares: classhub_engine.servers
    - require:
      - pkg: Engine package is installed
