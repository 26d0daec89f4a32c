"""The driver: graph in, gradient graph out."""
