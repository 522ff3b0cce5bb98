"""Shapes of released models, from models.toml or from the Hub."""
