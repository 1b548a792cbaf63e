# The directory from which nginx answers the challenges of an ACME authority; empty without one.
# Needs: nothing.
include:
  - check

Proxy has a place for challenges:
  file.directory:
    - name: /var/lib/classhub/acme
    - user: root
    - group: root
    - mode: "0755"
    - makedirs: True
