# The hub manages the class's swarm and hands its join token to the nodes alone.
# Needs: engine.
{%- set classhub = pillar["classhub"] %}
include:
  - engine

Hub manages the swarm:
  classhub_swarm.manager:
    - name: swarm
    - address: {{ classhub["address"] | json }}
    - address_pool: {{ classhub["engine"]["swarm_address_pool"] | json }}
    - require:
      - classhub_service: Engine service is running

Hub join token is published to the nodes:
  classhub_mine.published:
    - name: classhub_swarm_join
    - function: classhub_swarm.join_token
    - readers: {{ classhub["nodes"] | list | json }}
    - require:
      - classhub_swarm: Hub manages the swarm
