"""Idle servers are stopped, and nobody's work is: what is asked, what is decided and why, and what is remembered."""
