"""Suites: from a TOML file and the command line to a validated Suite, and to the experiments that it asks for."""
