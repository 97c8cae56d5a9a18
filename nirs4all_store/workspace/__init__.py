"""A workspace's life: opened, shared among threads and processes, checked, repaired, collected, copied."""
