# The class's hosts know each other by minion id, so that logs and mounts read well without a name server.
# Needs: nothing.
{%- set classhub = pillar["classhub"] %}
{%- for minion_id, host in classhub["hosts"] | dictsort %}

Common name {{ minion_id }} resolves:
  host.present:
    - name: {{ minion_id | json }}
    - ip: {{ host["address"] | json }}
    - clean: True
{%- endfor %}
