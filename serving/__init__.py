"""Trying and testing what `export/` writes: a local test server, a client and a load generator."""
