# The hub keeps the course's calendar by itself: a job of its minion's schedule, once a minute. One that was missed is
# caught up by the next. Without a calendar there is no job. Needs: the course's settings and the exchange.
include:
  - course.settings
  - course.exchange

{%- if pillar["classhub"]["course"]["assignments"] %}
Course calendar is kept:
  schedule.present:
    - name: classhub_calendar
    - function: classhub.keep_calendar
    - seconds: 60
    - maxrunning: 1
    - return_job: False
    - require:
      - classhub_course: Course settings are written
      - classhub_course: Course exchange is laid out
{%- else %}
Course calendar is empty:
  schedule.absent:
    - name: classhub_calendar
{%- endif %}
