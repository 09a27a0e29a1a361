"""Deadlines that hold, the ladder of rungs, and what a look cost."""
