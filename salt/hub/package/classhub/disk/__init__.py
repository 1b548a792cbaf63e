"""The disk that the homes are on: how full it is, who uses how much of it, and how much each person may."""
