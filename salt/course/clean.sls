# Takes the course's tools off the hub: the sweep, the formgrader, the settings and the mirror of the repository. The
# course, the sealed submissions and the exchange stay: they are the class's, not the installation's.
Course sweep is stopped:
  service.dead:
    - name: classhub-sweep.timer
    - enable: False

Course formgrader is stopped:
  service.dead:
    - name: classhub-formgrader
    - enable: False

Course units and settings are absent:
  file.absent:
    - names:
      - /etc/systemd/system/classhub-sweep.timer
      - /etc/systemd/system/classhub-sweep.service
      - /etc/systemd/system/classhub-formgrader.service
      - /etc/jupyterhub/formgrader.env
      - /etc/classhub/course.json
      - /etc/classhub/deploy_key
      - /var/lib/classhub/source.git
      - /home/.classhub/grading
    - require:
      - service: Course formgrader is stopped
      - service: Course sweep is stopped

Course calendar is not kept:
  schedule.absent:
    - names:
      - classhub_calendar
      - classhub_calendar_grading
