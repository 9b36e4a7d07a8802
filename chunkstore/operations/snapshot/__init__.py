"""Making a snapshot: walk, compare with the last manifest, read, cut, store, commit."""
