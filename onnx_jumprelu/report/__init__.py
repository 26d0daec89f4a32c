"""Rendering results: from result dataclasses, computing nothing."""
