# The class's one filesystem of homes, on the hub and on every node, by the driver that pillar names.
{%- set roles = pillar["classhub"]["roles"] %}
{%- if "hub" in roles %}
include:
  - storage.server
{%- elif "node" in roles %}
include:
  - storage.client
{%- endif %}
