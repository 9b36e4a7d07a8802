"""Deleting what no snapshot needs: the prune protocol."""
