# restic, and the client of a repository by sftp.
include:
  - common

Backup packages are installed:
  pkg.installed:
    - pkgs:
      - restic
      {%- if pillar["classhub"]["backup"]["repository"].startswith("sftp:") %}
      - openssh-client
      {%- endif %}
    - install_recommends: False
