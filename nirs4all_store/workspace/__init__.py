"""Opens workspaces, shares them among threads and processes, and maintains them.

Maintenance is: check, repair, remove unused artifacts, back up, restore, upgrade, recover.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
