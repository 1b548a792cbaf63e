# The host's firewall: by default nobody gets in, and each role opens what it needs to whom it needs.
include:
  - firewall.rules
