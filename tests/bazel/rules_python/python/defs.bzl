"""Bazel 4's own Python rules under the name of rules_python's."""

py_binary = native.py_binary
py_library = native.py_library
py_test = native.py_test
