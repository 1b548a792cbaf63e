"""Grading by machine: what students submitted is mended, executed out of reach of everything, and recorded."""
