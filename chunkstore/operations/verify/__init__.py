"""Comparing a snapshot with the files on disk."""
