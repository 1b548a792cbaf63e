# Whose login elsewhere is whose, for the hub, which reads it at each sign-in: nothing is restarted when it changes.
{%- set classhub = pillar["classhub"] %}
{%- set logins = {} %}
{%- for person in classhub["people"] %}
  {%- do logins.update({person["login"] or person["username"]: person["username"]}) %}
{%- endfor %}
include:
  - hub.account

Hub logins are those of the roster:
  file.serialize:
    - name: /etc/jupyterhub/logins.json
    - serializer: json
    - dataset: {{ logins | json }}
    - user: root
    - group: jupyterhub
    - mode: "0640"
    - show_changes: False
    - require:
      - user: Hub account is there
      - file: Hub settings directory is there
