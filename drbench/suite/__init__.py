"""Suites: a TOML file and command-line options -> a validated Suite -> its Experiments."""
