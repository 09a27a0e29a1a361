"""Faults for the checks of this command, on the lab's real servers."""
