"""The pytest plugin, a guest in every project of its environment."""
