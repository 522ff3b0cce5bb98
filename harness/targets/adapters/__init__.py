"""Adapters: implementations of other projects as targets, a file for each."""
