"""take → mask → judge + record → Report; and the same again from recorded facts."""

from diag.diagnosis.live import diagnose
from diag.diagnosis.plan import Plan, Request, explained, plan, queries
from diag.diagnosis.replay import replay

__all__ = ["Plan", "Request", "diagnose", "explained", "plan", "queries", "replay"]
