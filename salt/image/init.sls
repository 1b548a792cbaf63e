# The image that students' servers run: built on the hub, loaded on the nodes.
# Needs: engine, storage.
{%- set roles = pillar["classhub"]["roles"] %}
include:
  {%- if "hub" in roles %}
  - image.built
  {%- endif %}
  {%- if "node" in roles %}
  - image.loaded
  {%- endif %}
