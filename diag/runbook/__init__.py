"""Runbooks: read strictly, checked as a whole, and never guessed at.

`shelf` finds the books, `parse` reads one, `lint` checks it, `by_hand` writes the commands.
"""
