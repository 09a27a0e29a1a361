"""Thin: words in, words out. Decisions live below."""
