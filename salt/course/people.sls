# Everything about the people of the class: accounts and homes, quotas, their parts of the exchange, and for newcomers
# what was released before. `salt hub classhub.roster` applies this. Needs: storage, and the package in the hub's virtual
# environment.
include:
  - hub.users
  - hub.quotas
  - course.settings
  - course.exchange

Course is given to newcomers:
  classhub_course.welcomed:
    - name: newcomers
    - require:
      - classhub_course: Course exchange is laid out
