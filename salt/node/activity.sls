# What happens to students' containers is followed by an engine of this node's Salt minion, and recorded on the hub.
# Needs: all else of this node, as a minion that runs without it, or with an older one, is restarted: the run goes on, but
# what it returns long after that is lost.
include:
  - engine
  {%- if "hub" not in pillar["classhub"]["roles"] %}
  - node.swarm
  {%- endif %}

Node minion follows the containers:
  file.managed:
    - name: /etc/salt/minion.d/classhub-activity.conf
    - contents: |
        # Managed by Salt (salt/node/activity.sls).
        engines:
          - classhub_activity: {}
    - user: root
    - group: root
    - mode: "0644"
    - require:
      - classhub_service: Engine service is running

Node minion runs with what it reads:
  classhub_service.running:
    - name: salt-minion
    - reads:
      - /etc/salt/minion.d/classhub-activity.conf
      - {{ opts["cachedir"] }}/extmods/engines/classhub_activity.py
      - {{ opts["cachedir"] }}/extmods/utils/classhub_spool.py
    - require:
      - file: Node minion follows the containers
      {%- if "hub" not in pillar["classhub"]["roles"] %}
      - sls: node.swarm
      {%- endif %}
