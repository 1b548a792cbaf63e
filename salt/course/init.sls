# The course on the hub: its settings and directories, its people and nbgrader's exchange, where assignments come from, the sweep that
# seals submissions, the calendar and the formgrader.
# Needs: storage, the roster's accounts and the hub's virtual environment; each file includes what it needs.
include:
  - course.settings
  - course.people
  - course.source
  - course.sweep
  - course.calendar
  - course.formgrader
