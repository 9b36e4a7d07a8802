"""Checking a repository without any private key, or with one."""
