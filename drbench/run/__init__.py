"""Runs: do the work of a suite, a noise measurement or the operator benchmark, and record it."""
