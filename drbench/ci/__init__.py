"""The files that make a repository's CI use drbench: a suite, a baseline, a GitHub workflow."""
