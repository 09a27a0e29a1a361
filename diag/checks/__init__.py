"""OPINIONS: a folder is a command, a file in it is a check. The tree is the table of contents."""
