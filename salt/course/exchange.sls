# nbgrader's exchange on the class's filesystem, a part for each person of the roster; servers mount it.
# Needs: storage, and the package in the hub's virtual environment.
include:
  - course.settings
  - hub.package

Course exchange is laid out:
  classhub_course.exchanged:
    - name: exchange
    - require:
      - classhub_course: Course settings are written
      - file: Hub package is on the path
