"""How large a repository is, and which snapshot holds what."""
