# The hub keeps the course's calendar by itself: a job of its minion's schedule, once a minute. One that was missed is
# caught up by the next. Grading is a job of its own, as nothing else is to wait for it. Without a calendar there is no
# job. Needs: the course's settings and the exchange.
include:
  - course.settings
  - course.exchange

{%- if pillar["classhub"]["course"]["assignments"] %}
Course calendar is kept:
  schedule.present:
    - name: classhub_calendar
    - function: classhub.keep_calendar
    - job_kwargs:
        grading: False
    - seconds: 60
    - maxrunning: 1
    - return_job: False
    - require:
      - classhub_course: Course settings are written
      - classhub_course: Course exchange is laid out

Course calendar is kept for grading:
  schedule.present:
    - name: classhub_calendar_grading
    - function: classhub.keep_calendar
    - job_kwargs:
        grading: True
    - seconds: 60
    - maxrunning: 1
    - return_job: False
    - require:
      - classhub_course: Course settings are written
      - classhub_course: Course exchange is laid out
{%- else %}
Course calendar is empty:
  schedule.absent:
    - names:
      - classhub_calendar
      - classhub_calendar_grading
{%- endif %}
