"""The protocol of JumpReLU's authors (arXiv:1904.03750)."""
