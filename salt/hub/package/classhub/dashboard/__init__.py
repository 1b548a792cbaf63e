"""The dashboard of activity: what is recorded of the class, drawn for its staff."""
