# What fetching the assignments from a repository needs: git, and the key that may read it. The fetch itself is the
# verb `classhub.fetch_source`, or part of `classhub.release`: no state of a host waits for a repository.
{%- set source = pillar["classhub"]["course"]["source"] %}
include:
  - check

{%- if source["git"] %}
Course repository can be read:
  pkg.installed:
    - pkgs:
      - git
      - openssh-client
    - install_recommends: False
{%- endif %}

Course deploy key is as in pillar:
  {%- if source["deploy_key"] %}
  file.managed:
    - name: /etc/classhub/deploy_key
    - contents: {{ (source["deploy_key"].strip() ~ "\n") | json }}
    - user: root
    - group: root
    - mode: "0600"
    - makedirs: True
    - show_changes: False
  {%- else %}
  file.absent:
    - name: /etc/classhub/deploy_key
  {%- endif %}
