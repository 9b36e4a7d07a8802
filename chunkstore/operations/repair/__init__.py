"""Bringing a damaged repository back to work."""
