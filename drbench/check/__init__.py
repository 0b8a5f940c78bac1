"""The gate: what is recorded now beside a baseline or another run -> verdicts -> an exit code. Loads no torch."""
