"""The pytest plugin, which is loaded in every project of its environment."""
