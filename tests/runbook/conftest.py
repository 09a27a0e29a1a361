"""A small book with every kind of step, for tests that spoil it in one place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from diag.runbook import by_hand, parse

if TYPE_CHECKING:
    from diag.runbook.model import Runbook

SOURCE = "pg-locks/sample.md"
PIN = "0" * 64

PAGE = f"""---
diag: runbook/1
id: pg-locks/sample
title: A sample
alerts: [{{name: QueueHigh, labels: {{tier: db}}}}]
findings: [pg-locks/lock-queue]
needs: {{pg: [pg_monitor]}}
params:
  min_open: {{type: duration, default: 30s, max: 10m, why: younger ones pass}}
owner: database-oncall
escalate: database-leads, after 15 min
reviewed: {{date: 2026-09-01, by: database-oncall, good_for: 180d}}
---
# A sample

**Means** x. **Real?** x. **Safest relief** x.
**Do not** x.

## 1. Is it there?
```yaml diag:check
run: pg-locks
only: pg-locks/lock-queue
expect: finding("pg-locks/lock-queue").queue_length > 0
else: end/not-this
on_unknown: ask "granted?"
```

## 2. Who is it?
```sql
select 'an illustration'
```
```yaml diag:query
sql: select pid, backend_start from pg_stat_get_activity(:'pid'::int)
args: {{pid: finding("pg-locks/lock-queue").pid}}
save: head
expect: head.open_s > min_open
else: step 6
on_unknown: stop
```

## 3. May it go?
```yaml diag:ask
question: May {{{{head.pid}}}} go?
save: may
expect: may == "yes"
else: step 6
on_unknown: step 6
```

## 4. Cancel it
```yaml diag:act
action: pg-cancel
args: {{pid: head.pid, backend_start: head.backend_start}}
why: frees the others
before: may == "yes"
else: step 6
on_unknown: stop
blast: {{sessions: 1, limit: 1, reason: one is named}}
verify: {{expect: not has(head.pid), repeat: step 2, within: 20s, else: step 6}}
no_undo: it has to be run again
```

## 5. Is it calm?
```yaml diag:wait
repeat: step 1
within: 1m
until: not has(finding("pg-locks/lock-queue"))
then: end/not-this
else: step 6
on_unknown: step 6
```

## 6. Another book
```yaml diag:include
book: pg-locks/other
sha256: "{PIN}"
```

## 7. Not this
```yaml diag:end
name: not-this
outcome: not-this
leave: look elsewhere
```
"""


@pytest.fixture(scope="session")
def page() -> str:
    """The sample with its section "by hand" made."""
    return by_hand.with_by_hand(parse.parse(PAGE, source=SOURCE))


@pytest.fixture(scope="session")
def book(page: str) -> Runbook:
    """The sample, read."""
    return parse.parse(page, source=SOURCE)
