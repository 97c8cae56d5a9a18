"""Files and folders: written whole, looked at without following links, with the right permissions."""
