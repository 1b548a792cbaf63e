"""nbgrader's formgrader as a service of the hub, for graders and instructors: `python -m classhub.formgrader`.

What it shows and what a grader may change by hand is nbgrader's. What would release, collect or run code on the hub
is refused, and notebooks of students are shown without anything of theirs that a browser would run.
"""
