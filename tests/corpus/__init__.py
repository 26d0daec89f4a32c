"""The corpus: models of many tools, each patched in every way and judged apart from the package's own checks.

`python -m tests.corpus` runs it; `test_corpus.py` runs a part of it.
"""
