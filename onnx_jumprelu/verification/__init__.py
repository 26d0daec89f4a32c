"""Proof that a rewrite is right: structure, site by site, and equality at jump 0."""
