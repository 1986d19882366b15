"""Trying and testing what `export/` writes: a stand-in server, a client and a load generator."""
