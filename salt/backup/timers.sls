# When the class is saved, what is saved is pruned, and a part of it is restored to see that it can be.
# A unit that fails says so on Salt's event bus, too: classhub/backup/failed.
{%- set classhub = pillar["classhub"] %}
{%- set backup = classhub["backup"] %}
{%- set zone = classhub["course"]["timezone"] %}
{%- set hour, minute = backup["drill"]["time"].split(":") %}
{%- set night = "%02d:%s:00 %s" | format(hour | int, minute, zone) %}
{%- set later = "%02d:%s:00 %s" | format((hour | int + 2) % 24, minute, zone) %}
{%- set directory = backup["repository"] if backup["repository"].startswith("/") else "" %}
{%- set units = {
    "classhub-backup": {"verb": "backup", "what": "save the class", "when": ["OnActiveSec=2min", "OnUnitActiveSec=%ds" | format(backup["interval"])]},
    "classhub-backup-drill": {"verb": "drill", "what": "restore files at random, and compare them", "when": ["OnCalendar=*-*-* " ~ night, "Persistent=true"]},
    "classhub-backup-prune": {"verb": "prune", "what": "forget old snapshots, and check a part of the data", "when": ["OnCalendar=Sun *-*-* " ~ later, "Persistent=true"]},
} %}
include:
  - backup.packages
  - backup.config

{%- if directory %}

Backup repository has a directory:
  file.directory:
    - name: {{ directory | json }}
    - user: root
    - group: root
    - mode: "0700"
    - makedirs: True
{%- endif %}

Backup unit of failures is there:
  file.managed:
    - name: /etc/systemd/system/classhub-backup-failed@.service
    - source: salt://backup/files/classhub-backup-failed@.service
    - user: root
    - group: root
    - mode: "0644"

{%- for name, unit in units.items() %}

Backup unit {{ name }} is there:
  file.managed:
    - name: /etc/systemd/system/{{ name }}.service
    - source: salt://backup/files/classhub-backup.service.jinja
    - template: jinja
    - context:
        verb: {{ unit["verb"] }}
        what: {{ unit["what"] | json }}
        directory: {{ directory | json }}
    - user: root
    - group: root
    - mode: "0644"
    - require:
      - file: Backup unit of failures is there

Backup timer {{ name }} is there:
  file.managed:
    - name: /etc/systemd/system/{{ name }}.timer
    - source: salt://backup/files/classhub-backup.timer.jinja
    - template: jinja
    - context:
        what: {{ unit["what"] | json }}
        when: {{ unit["when"] | json }}
    - user: root
    - group: root
    - mode: "0644"

# the timer's restart alone would start the service as it was
Backup unit {{ name }} is as written:
  cmd.run:
    - name: systemctl daemon-reload
    - onlyif: systemctl show {{ name }}.service --property NeedDaemonReload --value | grep -q yes
    - require:
      - file: Backup unit {{ name }} is there

Backup timer {{ name }} is running:
  classhub_service.running:
    - name: {{ name }}.timer
    - reads:
      - /etc/systemd/system/{{ name }}.timer
    - require:
      - pkg: Backup packages are installed
      - file: Backup settings are written
      - file: Backup timer {{ name }} is there
      - cmd: Backup unit {{ name }} is as written
      {%- if directory %}
      - file: Backup repository has a directory
      {%- endif %}
      - file: Hub package is on the path
{%- endfor %}
