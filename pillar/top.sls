# Which minion reads which pillar. `machine` is what one machine adds to an example class (the lab writes it);
# secrets/<minion id>.sls is read by that minion alone.
base:
  '*':
    - class
    - machine
    - ignore_missing: True
  {{ grains["id"] | json }}:
    - secrets.{{ grains["id"] | replace(".", "_") }}
    - ignore_missing: True
