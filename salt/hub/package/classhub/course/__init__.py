"""Assignments between the course and the students: release, exchange, seal, collect.

Runs on the hub as root, by `python -m classhub.course <verb>`; Salt's modules call that and read its JSON. Whatever
a student can reach is touched as the student, by directory descriptor and without following links.
"""
