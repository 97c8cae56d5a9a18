"""Fitted objects as files: stored once per content, dumped, and loaded without running what a stranger put there."""
