# The account with which classhub.doctor goes a student's way: on no roster, without a way to sign in, and with the uid
# below the people's. Needs: storage, where the homes are.
{%- set name = "classhub-probe" %}
{%- set uid = pillar["classhub"]["roster"]["first_uid"] - 1 %}
include:
  - storage

Hub probe group is there:
  group.present:
    - name: {{ name }}
    - gid: {{ uid }}

Hub probe account is there:
  user.present:
    - name: {{ name }}
    - uid: {{ uid }}
    - gid: {{ uid }}
    - home: /home/{{ name }}
    - createhome: False
    - shell: /usr/sbin/nologin
    - require:
      - group: Hub probe group is there

# who is what counts by the list of a group's members alone
Hub probe is in its group:
  group.present:
    - name: {{ name }}
    - addusers:
      - {{ name }}
    - require:
      - user: Hub probe account is there

Hub probe home is there:
  file.directory:
    - name: /home/{{ name }}
    - user: {{ name }}
    - group: {{ name }}
    - mode: "0700"
    - require:
      - user: Hub probe account is there
      - classhub_filesystem: Storage marker is on the filesystem

{%- for file, line in [("passwd", name ~ ":x:" ~ uid ~ ":" ~ uid ~ "::/home/" ~ name ~ ":/bin/bash"), ("group", name ~ ":x:" ~ uid ~ ":")] %}

Hub probe {{ file }} for its server is there:
  file.managed:
    - name: /home/.nss/{{ name }}/{{ file }}
    - contents: {{ line | json }}
    - user: root
    - group: root
    - mode: "0644"
    - makedirs: True
    - dir_mode: "0755"
    - require:
      - classhub_filesystem: Storage marker is on the filesystem
{%- endfor %}
