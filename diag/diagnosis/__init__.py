"""take → mask → judge + record → Report; and the same again from recorded facts."""

from diag.diagnosis.live import diagnose
from diag.diagnosis.plan import Request, explained, plan
from diag.diagnosis.replay import replay

__all__ = ["Request", "diagnose", "explained", "plan", "replay"]
