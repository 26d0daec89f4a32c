"""What happens to a model before its gradient is built."""
