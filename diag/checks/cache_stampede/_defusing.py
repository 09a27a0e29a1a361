"""What to do about keys that will expire together, while there is still time."""

import re

from diag.analysis.expiry import Cluster
from diag.analysis.protections import jitter_gain
from diag.findings import Quantity, Risk, ShellCommand, Step, say
from diag.text import KeyText


def spread_before(pattern: KeyText, cliff: Cluster) -> tuple[Step, ...]:
    """Return the steps, safest first. Spreading over 2 x 20 % of the time left flattens the peak by 2 j T / w."""
    gain = jitter_gain(cliff.from_s, cliff.width_s)
    return (
        Step(
            title=say("Look again at this family alone"),
            risk=Risk.READ_ONLY,
            command=ShellCommand(("diag", "cache-stampede", ("--match=", _glob(pattern)))),
            expect=say("the same moment, with a narrower interval"),
        ),
        Step(
            title=say("Cap the readers' database pool before that moment"),
            risk=Risk.REVERSIBLE,
            expect=say("at the cliff requests wait for a connection; the database does not saturate"),
        ),
        Step(
            title=say("Give the keys new times to live, spread by 20 % both ways, in batches (step 5 of the runbook)"),
            risk=Risk.REVERSIBLE,
            expect=say(
                "the next look shows no cliff; the peak is lower by about {gain}", gain=Quantity(round(gain), "times")
            ),
        ),
        Step(
            title=say("In the service: write times to live that differ by 20 % (the command prints tested Python)"),
            risk=Risk.REVERSIBLE,
            command=ShellCommand(("diag", "runbook", "pattern")),
            expect=say("no cliff after the next warm-up or import"),
        ),
    )


def _glob(pattern: KeyText) -> KeyText:
    """Turn a family into a glob for SCAN MATCH: places become `*`, glob characters are escaped."""
    parts = re.split(r"\{(?:n|s|hash|uuid)\}", pattern.raw)
    return KeyText("*".join(re.sub(r"([*?\[\]\\])", r"\\\1", part) for part in parts))
