"""The retrofit: find rectifiers, rewrite them, record what was done, undo it."""
