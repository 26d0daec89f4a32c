"""The verdict on a model or a pair: many attacks, their outcome, flags and gates."""
