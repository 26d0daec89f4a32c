"""Reverse mode as a graph pass: a model in, a model with its input gradient out."""
