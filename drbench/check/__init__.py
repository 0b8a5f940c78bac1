"""The gate: compares figures with a baseline or another run -> verdicts -> an exit code. Loads no torch."""
