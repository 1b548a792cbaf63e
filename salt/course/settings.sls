# What the course's tools read, and where they keep things: the course itself and the sealed submissions are on a disk
# of the hub, for root alone. Needs: the roster's accounts, whose uids are in the settings.
include:
  - hub.users

Course settings are written:
  classhub_course.described:
    - name: /etc/classhub/course.json
    - course_dir: /var/lib/classhub/course
    - exchange: /home/.classhub/exchange
    - store: /var/lib/classhub/sealed
    - require:
      - classhub_roster: Hub users are those of the roster

{%- for folder in ["course", "course/source", "sealed", "culling"] %}

Course directory {{ folder }} is there:
  file.directory:
    - name: /var/lib/classhub/{{ folder }}
    - user: root
    - group: root
    - mode: "0700"
    - makedirs: True
{%- endfor %}

Course configuration of nbgrader is there:
  file.managed:
    - name: /var/lib/classhub/course/nbgrader_config.py
    - source: salt://course/files/nbgrader_config.py
    - user: root
    - group: root
    - mode: "0600"
    - require:
      - file: Course directory course is there
