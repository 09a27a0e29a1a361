"""Where a lag goes, in words: the same that the table of groups says."""

from diag.analysis.consumer_lag import TopicLag
from diag.analysis.group_lags import GroupRow, Trend
from diag.findings import Phrase, Quantity, say


def trend(lag: TopicLag, row: GroupRow | None) -> Phrase:
    """Say whether a lag grows or drains, and until when. Within a commit of each partition it is steady."""
    growth, drain_s = lag.growth_per_s, lag.drain_s
    if row is None or row.trend is Trend.UNKNOWN or growth is None:
        return say("trend unknown from one sample")
    if row.trend is Trend.DRAINING and drain_s is not None:
        return say("shrinking; gone in about {drain} at this rate", drain=Quantity(drain_s, "s"))
    if row.trend is Trend.GROWING and growth > 0:
        return say("growing by {growth} a second", growth=Quantity(growth, "records"))
    return say("steady")
