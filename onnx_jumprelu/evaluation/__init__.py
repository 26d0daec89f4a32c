"""Data and measurements."""
