"""Reads what nirs4all 0.8 and later wrote: whole workspaces, and what its chains mean."""
