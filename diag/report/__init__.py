"""Paper: one page for all sinks, and the sinks that put it on a terminal, in Markdown, JSON or a monitoring line."""
