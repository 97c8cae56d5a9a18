"""Files and folders: written whole, looked at without following links, with the right permissions."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
