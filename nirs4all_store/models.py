"""The mapped classes, under the name that queries import them by."""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__package__, __file__)
