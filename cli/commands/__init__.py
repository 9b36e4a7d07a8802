"""One command a file: a parser and one call of the library."""
