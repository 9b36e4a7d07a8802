"""Bringing files back."""
