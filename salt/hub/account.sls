# The account JupyterHub runs as, and its directories. Group docker is set by the unit alone: only the service, and
# no other process of the account, may talk to the engine.
include:
  - check

Hub group is there:
  group.present:
    - name: jupyterhub
    - system: True

Hub account is there:
  user.present:
    - name: jupyterhub
    - gid: jupyterhub
    - system: True
    - home: /var/lib/jupyterhub
    - createhome: False
    - shell: /usr/sbin/nologin
    - require:
      - group: Hub group is there

# may read what is recorded of activity
Hub group of activity is there:
  group.present:
    - name: classhub-activity
    - system: True

# by itself: made as the parent of a closed directory it would be as closed, and stunnel's account has to pass
Hub has a directory for the class's settings:
  file.directory:
    - name: /etc/classhub
    - user: root
    - group: root
    - mode: "0755"

Hub settings directory is there:
  file.directory:
    - name: /etc/jupyterhub
    - user: root
    - group: root
    - mode: "0755"

Hub directory for the site's own configuration is there:
  file.directory:
    - name: /etc/jupyterhub/jupyterhub_config.d
    - user: root
    - group: root
    - mode: "0755"
    - require:
      - file: Hub settings directory is there
