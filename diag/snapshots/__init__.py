"""FACTS: frozen, typed readings of a system at one instant. No opinions."""
