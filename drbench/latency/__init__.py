"""Latency: when to time which networks, one block of turns in a process, the timer."""
