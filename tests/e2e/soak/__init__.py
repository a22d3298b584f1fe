"""What takes minutes, for `make soak`: measurements with a bound, which say what they found."""
