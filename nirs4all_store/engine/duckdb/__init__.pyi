from . import migrator as migrator
