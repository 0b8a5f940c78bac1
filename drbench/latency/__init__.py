"""Latency: the schedule of an experiment, one block of turns in a process, and the timer."""
