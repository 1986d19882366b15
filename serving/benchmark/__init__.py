"""Latency of exported students against the models that a user would pick instead."""
