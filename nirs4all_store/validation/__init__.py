"""What may be stored: checks of what callers give, and how much of it."""
