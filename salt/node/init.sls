# A node: runs students' servers, and tells of them. It joins the swarm last, when it has the homes and the image.
{%- set roles = pillar["classhub"]["roles"] %}
include:
  {%- if "hub" not in roles %}
  - image.loaded
  - node.swarm
  {%- endif %}
  - node.activity
