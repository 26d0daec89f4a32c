"""Attacks on classifiers: one file each, all with the same call."""
