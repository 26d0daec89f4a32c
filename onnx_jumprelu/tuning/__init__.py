"""Picking jumps on validation data."""
