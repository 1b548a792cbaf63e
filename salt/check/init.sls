# Refuses a class whose settings have faults, all of them in one message, before anything is changed: a setting with a
# fault has its default meanwhile, which is not what anybody wants. Comes first, also where one component is applied alone.
# Needs: nothing. The master finds the faults (_pillar/classhub.py).
{%- set faults = pillar.get("classhub", {}).get("faults", ["classhub: the master does not check the settings; "
    "install config/master.d/classhub.conf on it"]) %}

Class settings are valid:
  {%- if faults %}
  test.configurable_test_state:
    - name: classhub settings
    - changes: False
    - result: False
    - allow_test_mode_failure: True
    - comment: {{ ("This class's settings have faults; nothing was changed. Mend them in pillar:\n- "
        ~ faults | join("\n- ")) | json }}
    - failhard: True
  {%- else %}
  test.succeed_without_changes:
    - name: classhub settings
    - comment: The settings have no faults
  {%- endif %}
