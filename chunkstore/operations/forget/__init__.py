"""Taking snapshots out of a repository, by rules and with guards."""
