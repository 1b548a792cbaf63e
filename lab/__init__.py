"""The lab: a whole class on one machine, its hosts as containers that run systemd and Salt."""
