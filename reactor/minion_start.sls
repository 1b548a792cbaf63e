{#- A minion started: give it the class's modules before it is asked for a state. The id is the minion's own word,
    so it is quoted and matched as a plain name, never as a pattern. #}
New code reaches the minion that started:
  local.saltutil.sync_all:
    - tgt: [{{ data["id"] | json }}]
    - tgt_type: list
