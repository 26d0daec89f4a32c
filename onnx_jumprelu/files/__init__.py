"""The only door to files."""
