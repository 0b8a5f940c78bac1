"""Tasks: what a network is trained for and judged by. One file a task; TASKS is the registry."""

from drbench.tasks.classify import Classify

TASKS = {"classify": Classify}

__all__ = ["TASKS", "Classify"]
