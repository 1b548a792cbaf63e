# The node is a worker of the hub's swarm.
# Needs: engine, storage and image: whatever Swarm places here must find the homes and the image.
{%- set classhub = pillar["classhub"] %}
include:
  - engine
  - storage
  - image.loaded

Node is a worker of the hub:
  classhub_swarm.worker:
    - name: swarm
    - address: {{ classhub["address"] | json }}
    - hub: {{ classhub["hub_host"]["id"] | json }}
    - hub_address: {{ classhub["hub_host"]["address"] | json }}
    - wait: {{ classhub["hub"]["wait"] }}
    - require:
      - classhub_service: Engine service is running
      - classhub_filesystem: Storage is the class's filesystem
      - sls: image.loaded
