"""A chain out of a workspace and into another one: bundles, scripts, YAML."""
