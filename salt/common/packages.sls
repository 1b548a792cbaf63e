# Packages of every host: what the states call, and what the site adds.
{%- set classhub = pillar["classhub"] %}
include:
  - check

Common packages are installed:
  pkg.installed:
    - pkgs: {{ (["curl", "nftables", "procps"] + classhub["site"]["packages"]) | json }}
