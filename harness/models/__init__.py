"""Shapes of released models, from models.toml or from the Hugging Face Hub."""
