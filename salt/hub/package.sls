# The Python package `classhub` (spawner, authenticator, configuration) on the path of the hub's virtual environment.
include:
  - hub.venv

Hub package is there:
  file.recurse:
    - name: /opt/jupyterhub/classhub-package/classhub
    - source: salt://hub/package/classhub
    - user: root
    - group: root
    - dir_mode: "0755"
    - file_mode: "0644"
    - clean: True
    - exclude_pat: "*__pycache__*"
    - require:
      - cmd: Hub virtual environment is as locked

Hub package is on the path:
  file.managed:
    - name: /opt/jupyterhub/lib/python{{ grains["pythonversion"][:2] | join(".") }}/site-packages/classhub.pth
    - contents: /opt/jupyterhub/classhub-package
    - user: root
    - group: root
    - mode: "0644"
    - require:
      - file: Hub package is there
