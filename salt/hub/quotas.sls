# How much each person of the roster may have in /home, where pillar sets quotas; a filesystem that keeps none needs
# nothing where it does not. Needs: the roster's accounts, and the package in the hub's virtual environment.
{%- set quota = pillar["classhub"]["storage"]["quota"] %}
include:
  - hub.users
  - hub.package
  - course.settings

{%- if quota["roles"] or quota["users"] %}

Hub quota tools are installed:
  pkg.installed:
    - name: quota
    - require_in:
      - classhub_quota: Hub quotas are those of the class
{%- endif %}

Hub quotas are those of the class:
  classhub_quota.applied:
    - name: quotas
    - require:
      - classhub_roster: Hub users are those of the roster
      - classhub_course: Course settings are written
      - file: Hub package is on the path
