"""What a defence is worth: many attacks, and how to read their outcome."""
