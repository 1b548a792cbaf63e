# Once a minute: seal what students submitted, out of their reach.
# Needs: the exchange and the course's directories.
include:
  - course.settings
  - course.exchange

{%- for unit in ["classhub-sweep.service", "classhub-sweep.timer"] %}

Course unit {{ unit }} is there:
  file.managed:
    - name: /etc/systemd/system/{{ unit }}
    - source: salt://course/files/{{ unit }}
    - user: root
    - group: root
    - mode: "0644"
{%- endfor %}

# the timer's restart alone would start the service as it was
Course units are as written:
  cmd.run:
    - name: systemctl daemon-reload
    - onlyif: systemctl show classhub-sweep.service --property NeedDaemonReload --value | grep -q yes
    - require:
      - file: Course unit classhub-sweep.service is there

Course sweep is running:
  classhub_service.running:
    - name: classhub-sweep.timer
    - reads:
      - /etc/systemd/system/classhub-sweep.timer
    - require:
      - file: Course unit classhub-sweep.timer is there
      - cmd: Course units are as written
      - file: Course directory sealed is there
      - classhub_course: Course exchange is laid out
