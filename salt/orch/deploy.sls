# The whole class in order, so that no host has to wait for another: `salt-run classhub.deploy`.
# `salt '*' state.apply` converges to the same. Needs: every host's minion answering.

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

Deploy nodes:
  salt.state:
    - tgt: 'classhub:roles:node'
    - tgt_type: pillar
    - sls: [common, firewall, engine, storage, node]
    - require:
      - salt: Deploy student image is built

Deploy hub:
  salt.state:
    - tgt: 'classhub:roles:hub'
    - tgt_type: pillar
    - highstate: True
    - require:
      - salt: Deploy nodes

Deploy proxy:
  salt.state:
    - tgt: 'classhub:roles:proxy'
    - tgt_type: pillar
    - highstate: True
    - require:
      - salt: Deploy hub
