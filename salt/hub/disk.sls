# Once a minute: how full the disk with the homes is, for the students whose servers start, and for the journal.
# Needs: the hub's account, the course's settings, and the package in the hub's virtual environment.
include:
  - hub.account
  - hub.package
  - course.settings

{%- for unit in ["classhub-disk.service", "classhub-disk.timer"] %}

Hub unit {{ unit }} is there:
  file.managed:
    - name: /etc/systemd/system/{{ unit }}
    - source: salt://hub/files/{{ unit }}
    - user: root
    - group: root
    - mode: "0644"
{%- endfor %}

# the timer's restart alone would start the service as it was
Hub units of the disk are as written:
  cmd.run:
    - name: systemctl daemon-reload
    - onlyif: systemctl show classhub-disk.service --property NeedDaemonReload --value | grep -q yes
    - require:
      - file: Hub unit classhub-disk.service is there

Hub disk is watched:
  classhub_service.running:
    - name: classhub-disk.timer
    - reads:
      - /etc/systemd/system/classhub-disk.timer
    - require:
      - file: Hub unit classhub-disk.timer is there
      - cmd: Hub units of the disk are as written
      - user: Hub account is there
      - classhub_course: Course settings are written
      - file: Hub package is on the path
