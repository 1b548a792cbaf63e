# nbgrader in every student's server: the course and its timezone come from the spawner, so that one image serves
# any course; the exchange is what the spawner mounts, the student's own part of it.
import os

c = get_config()  # noqa: F821

c.CourseDirectory.course_id = os.environ.get("CLASSHUB_COURSE", "")
c.Exchange.root = "/srv/nbgrader/exchange"
c.Exchange.timezone = os.environ.get("TZ", "UTC")
