"""Whole programs, as people run them: killed, refused, stopped, restarted, out of disk."""
