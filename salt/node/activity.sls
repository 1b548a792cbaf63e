# What happens to students' containers is followed by an engine of this node's Salt minion, and recorded on the hub.
# Needs: engine. A minion that runs without it, or with an older one, is restarted; the run goes on in the meantime.
include:
  - engine

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
