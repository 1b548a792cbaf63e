# The image from which the hub starts servers. Read at each start, so a switch restarts nothing.
# Needs: image.built, and the swarm; on a host that is hub and node, image.loaded, too.
{%- set classhub = pillar["classhub"] %}
include:
  - image
  - hub.swarm
  - hub.account

Hub starts servers from the class's image:
  classhub_image.selected:
    - name: /etc/jupyterhub/image.json
    - wait: {{ classhub["hub"]["wait"] }}
    - require:
      - classhub_swarm: Hub manages the swarm
      {%- if "node" in classhub["roles"] %}
      - classhub_mine: Image on the node is reported
      {%- elif not classhub["image"]["reference"] %}
      - classhub_mine: Image is offered to the nodes
      {%- endif %}
      - file: Hub settings directory is there
