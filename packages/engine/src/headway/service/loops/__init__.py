"""Background loops, one a file: `run_once` does the work, `run` repeats it."""
