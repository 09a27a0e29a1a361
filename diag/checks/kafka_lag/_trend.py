"""Where a lag goes, in words."""

from diag.analysis.consumer_lag import TopicLag
from diag.findings import Phrase, Quantity, say


def trend(lag: TopicLag) -> Phrase:
    """Say whether a lag grows or drains, and until when."""
    growth, drain_s = lag.growth_per_s, lag.drain_s
    if growth is None:
        return say("trend unknown from one sample")
    if drain_s is not None:
        return say("shrinking; gone in about {drain} at this rate", drain=Quantity(drain_s, "s"))
    if growth > 0:
        return say("growing by {growth} a second", growth=Quantity(growth, "records"))
    return say("steady")
