"""The evidence file: what was seen, kept so that it can be judged again elsewhere."""
