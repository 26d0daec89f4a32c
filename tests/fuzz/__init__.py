"""Malformed inputs at random: `python -m tests.fuzz` repeats them from a seed.

`mutations` makes a file from a seed, `trials` gives it to everything that reads such a file, `workers` runs that in
processes with limits on time and memory.
"""
