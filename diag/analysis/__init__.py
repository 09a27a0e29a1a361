"""PURE MATHS on facts; every formula names its source."""
