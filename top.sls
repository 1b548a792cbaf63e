# Role -> states. Roles come from pillar, never from grains: a minion must not choose its own secrets.
# A class with faults in its settings gets nothing but their report.
{%- set classhub = pillar.get("classhub", {}) %}
{%- set roles = classhub.get("roles", []) %}
base:
  {{ grains["id"] | json }}:
    {%- if classhub.get("faults", ["not checked"]) %}
    - check
    {%- else %}
    - common
    - engine
    - storage
    {%- for role in ["hub", "node", "proxy"] if role in roles %}
    - {{ role }}
    {%- endfor %}
    {%- endif %}
