"""What a chain is, and how it predicts: its shape, its plan, its fitted objects, its estimator."""
