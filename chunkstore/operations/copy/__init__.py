"""Copying snapshots from one repository to another."""
