"""Scores: how they are made, what they are called, and which values of them are better."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
