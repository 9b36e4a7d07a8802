"""How well a tree deduplicates, without a repository."""
