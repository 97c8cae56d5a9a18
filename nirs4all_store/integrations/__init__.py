"""Other packages that keep their workspaces in this store."""
