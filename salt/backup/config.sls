# What the backup saves, where to and by which password, for root alone; and the program that does it.
# Needs: nothing of a class. The accounts that its files belong to are there before anything is recovered.
{%- set classhub = pillar["classhub"] %}
{%- set backup = classhub["backup"] %}
{%- set here = "/etc/classhub/backup" %}
include:
  - hub.account
  - hub.package

Backup has a directory:
  file.directory:
    - name: {{ here }}
    - user: root
    - group: root
    - mode: "0700"
    - require:
      - file: Hub has a directory for the class's settings

Backup settings are written:
  file.serialize:
    - name: {{ here }}/backup.json
    - serializer: json
    - dataset:
        repository: {{ backup["repository"] | json }}
        password: {{ backup["password"] | json }}
        environment: {{ backup["environment"] | json }}
        ssh_key: {{ (here ~ "/ssh_key" if backup["ssh_key"] else "") | json }}
        known_hosts: {{ (here ~ "/known_hosts" if backup["known_hosts"] else "") | json }}
        interval: {{ backup["interval"] }}
        keep: {{ backup["keep"] | json }}
        max_file: {{ backup["max_file"] | json }}
        drill: {files: {{ backup["drill"]["files"] }}}
        timezone: {{ classhub["course"]["timezone"] | json }}
        trees: {{ backup["trees"] | json }}
        databases:
          - /var/lib/jupyterhub/jupyterhub.sqlite
          - /var/lib/classhub/course/gradebook.db
          - /srv/stats/db/activity.sqlite
        # what can be made again, and what no other host may have
        excluded:
          - {{ classhub["image"]["store"] | json }}
          - /home/.classhub/grading
          - /home/*/.cache
          - /home/.archive/*/.cache
          - /var/lib/classhub/activity
          - /var/lib/classhub/image
          - /var/lib/classhub/source.git
          - /etc/classhub/backup
          - /etc/classhub/stunnel
    - user: root
    - group: root
    - mode: "0600"
    - show_changes: False
    - require:
      - file: Backup has a directory

{%- for name in ["ssh_key", "known_hosts"] %}

Backup file {{ name }} is as in pillar:
  {%- if backup[name] %}
  file.managed:
    - name: {{ here }}/{{ name }}
    - contents: {{ (backup[name].strip() ~ "\n") | json }}
    - user: root
    - group: root
    - mode: "0600"
    - show_changes: False
    - require:
      - file: Backup has a directory
  {%- else %}
  file.absent:
    - name: {{ here }}/{{ name }}
  {%- endif %}
{%- endfor %}
