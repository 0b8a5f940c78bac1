"""The suites that drbench ships: TOML files and published figures, no code."""
