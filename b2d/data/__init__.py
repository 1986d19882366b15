"""The rows: read from files, joined, paired, generated, and their soft labels."""
