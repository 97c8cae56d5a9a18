"""A chain out of a workspace and into another one: bundles, scripts, YAML."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
