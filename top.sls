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
    - firewall
    - engine
    - storage
    {#- node at last: it may restart the minion, whose answer must not take long after that #}
    {%- for role in ["hub", "proxy", "node"] if role in roles %}
    - {{ role }}
    {%- endfor %}
    {%- endif %}
