# The whole class in order, so that no host has to wait for another: `salt-run classhub.deploy`.
# `salt '*' state.apply` converges to the same. Needs: every host's minion answering, and from the runner the roles that
# hosts have beside the hub (`apart`). The hub gets all its roles in its own stage: the node's states may restart the minion,
# which would cut a stage that follows on the same host.
{%- set apart = pillar["apart"] %}

Deploy settings are valid:
  salt.state:
    - tgt: '*'
    - sls: [check]

Deploy hub filesystem and swarm:
  salt.state:
    - tgt: 'classhub:roles:hub'
    - tgt_type: pillar
    - sls: [common, firewall, engine, storage, hub.swarm, hub.users]
    - require:
      - salt: Deploy settings are valid

Deploy student image is built:
  salt.state:
    - tgt: 'classhub:roles:hub'
    - tgt_type: pillar
    - sls: [image.built]
    - require:
      - salt: Deploy hub filesystem and swarm

{%- if "node" in apart %}

Deploy nodes:
  salt.state:
    - tgt: 'I@classhub:roles:node and not I@classhub:roles:hub'
    - tgt_type: compound
    - sls: [common, firewall, engine, storage, node]
    - require:
      - salt: Deploy student image is built
{%- endif %}

Deploy hub:
  salt.state:
    - tgt: 'classhub:roles:hub'
    - tgt_type: pillar
    - highstate: True
    - require:
      - salt: {{ "Deploy nodes" if "node" in apart else "Deploy student image is built" }}

{%- if "proxy" in apart %}

Deploy proxy:
  salt.state:
    - tgt: 'I@classhub:roles:proxy and not I@classhub:roles:hub'
    - tgt_type: compound
    - highstate: True
    - require:
      - salt: Deploy hub
{%- endif %}
