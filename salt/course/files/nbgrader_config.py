# nbgrader for whoever works in the course on the hub (managed by Salt). Its exchange is not used here: releasing and
# collecting are classhub's (`salt hub classhub.release`).
import json

c = get_config()  # noqa: F821

with open("/etc/classhub/course.json", encoding="utf-8") as file:
    settings = json.load(file)

c.CourseDirectory.course_id = settings["course_id"]
c.CourseDirectory.root = settings["course_dir"]
c.CourseDirectory.db_url = f"sqlite:///{settings['course_dir']}/gradebook.db"
c.Exchange.timezone = settings["timezone"]
