# Debian packages of the hub. JupyterHub itself is in a virtual environment (hub.venv).
include:
  - check

Hub packages are installed:
  pkg.installed:
    - pkgs:
      - curl
      - node-configurable-http-proxy
      - python3-venv
      - stunnel4
    - install_recommends: False
