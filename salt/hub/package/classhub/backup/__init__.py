"""Backups of the class by restic: taken, proved, given back.

Runs on the hub as root, by `python -m classhub.backup <verb>`; systemd's timers and Salt's modules call that. What a
student can reach is read by restic, which follows no link, and written as the student.
"""
