"""The command line of chunkstore: arguments, environment, output. Everything else is in the library."""
