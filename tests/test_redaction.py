"""Literals and credentials: what must not be read is not in any output."""

from __future__ import annotations

import time
from base64 import b64encode
from datetime import UTC, datetime
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from diag.errors import SecretLeakError
from diag.redaction import MASK, Masks, mask, mask_sql, masks, refuse_secrets
from diag.snapshots.base import Gap, Target
from diag.snapshots.postgres import Backend, Oid, PgLocks, Pid
from diag.text import ServerText, SqlText

CANARY = "tr0ub/ador&3 'x"


@pytest.mark.parametrize(
    ("statement", "masked"),
    [
        ("SELECT a FROM t1 WHERE b2 = $1", "SELECT a FROM t1 WHERE b2 = $1"),
        ("SELECT 'it''s secret'", "SELECT ?"),
        ("SELECT 'C:\\', x", "SELECT ?, x"),  # a backslash means itself in a plain literal
        ("SELECT E'it\\'s secret' x", "SELECT ? x"),
        ("SELECT e'a''b\\\\' x", "SELECT ? x"),
        ("SELECT E'a'\n  'b\\'secret' x", "SELECT ? x"),  # joined literals keep the rules of the first
        ("SELECT E'a' -- why\n 'b\\'secret' x", "SELECT ? x"),
        ("SELECT n'x', b'01', X'1F', N'y'", "SELECT ?, ?, ?, ?"),
        ("SELECT U&'d!0061t' UESCAPE '!' x", "SELECT ? UESCAPE ? x"),
        ("SELECT $$it's$$, $a$ $$ secret $b$ $$ $a$ x", "SELECT ?, ? x"),
        ("SELECT $ü1$secret$ü1$ x", "SELECT ? x"),
        ("SELECT $🦉$secret$🦉$ x", "SELECT ? x"),
        ("SELECT a$b$c FROM t$1$", "SELECT a$b$c FROM t$1$"),  # dollars inside identifiers quote nothing
        ("SELECT €$$ , 'a$$ secret'", "SELECT €$$ , ?"),
        ("/* 'a' /* nested */ secret */ SELECT 1", "? SELECT ?"),
        ("/* /* */ ' */ SELECT 'secret' x", "? SELECT ? x"),
        ("SELECT 1 -- secret's\nFROM t", "SELECT ? ?\nFROM t"),
        ("SELECT 1 -- secret's\rFROM t", "SELECT ? ?\rFROM t"),
        ("SELECT a-1, b*/*secret*/c, @--d\n-e", "SELECT a-?, b*?c, @?\n-e"),
        ("SELECT 0x1F, 0o17, 1_000, .5, 1.5e-3, 12e5", "SELECT ?, ?, ?, ?, ?, ?"),
        ('SELECT "col 42""x", t4.c2', 'SELECT "col 42""x", t4.c2'),
        ("INSERT INTO t VALUES (4111111111111111)", "INSERT INTO t VALUES (?)"),
        ("SELECT 'cut off by the serv", "SELECT ?"),
        ("SELECT E'cut off \\' by \\", "SELECT ?"),
        ("SELECT $tag$cut off $tag", "SELECT ?"),
        ("SELECT 1 /* cut off 'secret", "SELECT ? ?"),
        ('SELECT "cut o', 'SELECT "cut o'),
        ("", ""),
    ],
)
def test_literals_of_every_form_become_a_question_mark(statement, masked):
    assert mask_sql(statement) == masked


SECRET = "zqx77secretzqx77"
NOISE = st.text("a\"'$\\/*-eE; \n\té€tag0", max_size=12)
QUOTED = NOISE.map(lambda text: "'" + (text + SECRET + text).replace("'", "''") + "'")
ESCAPED = NOISE.map(lambda text: "E'" + (text + SECRET + text).replace("\\", "\\\\").replace("'", "\\'") + "'")
DOLLAR = NOISE.map(lambda text: "$q_1$" + (text + SECRET + text) + " $q_1$")
NESTED = NOISE.map(lambda text: "/* " + text.replace("/*", "").replace("*/", "") + " /* ' */ " + SECRET + " */")
LITERAL = QUOTED | ESCAPED | DOLLAR | NESTED
CODE = st.sampled_from(["SELECT ", " FROM t1, ", ' "a""b\' $$" ', " $1 ", " + ", "\n", " 42 ", " x$y ", " @-", " (€) "])


@given(st.lists(st.tuples(CODE, LITERAL), min_size=1, max_size=6))
def test_nothing_of_a_literal_survives_between_whatever_code(parts):
    statement = "".join(code + literal for code, literal in parts)
    assume("'\n" not in statement.replace(" ", ""))  # a line end would join two literals into one
    masked = mask_sql(statement + " AS last")
    assert SECRET not in masked
    assert masked.endswith(" AS last")


@given(st.tuples(CODE, LITERAL), st.data())
def test_nothing_of_a_literal_survives_where_the_server_cuts_it(part, data):
    code, literal = part
    whole = code + literal
    end = data.draw(st.integers(len(code) + literal.index(SECRET), len(whole)))
    assert SECRET[:4] not in mask_sql(whole[:end])


@pytest.mark.parametrize(
    "part",
    ["'", "''", "E'\\", "E'a'\n", "E'a' -- ", "-- ", "/*", "*/", "/* */", "$a$", "$", '"', "a", "1", "1e", "\\", "é"],
)
def test_a_statement_made_to_be_slow_is_masked_at_once(part):
    started = time.perf_counter()
    mask_sql(part * 20_000)
    mask_sql("E'" + part * 20_000)
    assert time.perf_counter() - started < 2


def snapshot(**more):
    return PgLocks(
        target=Target(kind="postgres", address="db-1"),
        observed_at=datetime(2026, 1, 1, tzinfo=UTC),
        database=Oid(5),
        locks=(),
        backends=(Backend(pid=Pid(7), query=SqlText("SELECT 'x', 1"), application_name=ServerText("app'1' 42")),),
        **more,
    )


def test_only_statements_are_taken_for_sql():
    (backend,) = mask(snapshot(), Masks()).backends
    assert backend.query == SqlText("SELECT ?, ?")
    assert backend.application_name == ServerText("app'1' 42")


def test_literals_stay_when_they_were_asked_for():
    (backend,) = mask(snapshot(), Masks(show_literals=True)).backends
    assert backend.query == SqlText("SELECT 'x', 1")


def test_what_needs_no_mask_is_the_very_same_fact():
    clean = Gap(source="redis", fact="*", what=ServerText("keys"), why=ServerText("NOPERM"))
    assert mask(clean, masks([CANARY])) is clean


def test_masking_changes_nothing_but_texts():
    before, after = snapshot(), mask(snapshot(), masks([CANARY]))
    assert msgspec.structs.replace(after, backends=before.backends) == before


FORMS = {
    "as it is": CANARY,
    "in a URL": quote(CANARY, safe=""),
    "in a header": b64encode(CANARY.encode()).decode(),
    "in a header, unpadded": b64encode(CANARY.encode()).decode().rstrip("="),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_credential_is_hidden_in_every_form_a_server_may_echo(form):
    echoed = Gap(source="redis", fact="*", what=ServerText("x"), why=ServerText(f"bad <{form}>, said {form}"))
    said = mask(echoed, masks([CANARY])).why.raw
    assert form not in said
    assert said.count(MASK) == 2


@pytest.mark.parametrize("secret", [CANARY, 'qu"ote\\d', "ünïcode-pass", "tab\tin it", "plain-secret"])
def test_output_with_a_credential_in_it_is_refused(secret):
    hidden = masks([secret])
    as_json = msgspec.json.encode({"why": secret}).decode()
    for text in (f"before {secret} after", as_json, quote(secret, safe="")):
        with pytest.raises(SecretLeakError) as refused:
            refuse_secrets(text, hidden)
        assert secret not in refused.value.message + refused.value.hint
    assert refuse_secrets("nothing of it", hidden) == "nothing of it"


def test_a_credential_that_is_no_unicode_is_hidden_like_any_other():
    assert masks(["\udc9bnot-utf8"]).hide("a \udc9bnot-utf8 b") == f"a {MASK} b"


def test_the_longer_credential_goes_first_so_that_no_rest_of_it_stays():
    assert masks(["pass-word", "pass-word-and-more"]).hide("pass-word-and-more") == MASK


def test_a_credential_too_short_or_public_anyway_is_left_alone():
    hidden = masks(["abc", "orders", "s3cret!"], public=["orders"])
    assert hidden.hide("abc orders s3cret!") == f"abc orders {MASK}"


def test_the_users_own_patterns_are_hidden_too():
    hidden = masks([], patterns=[r"\b\d{16}\b"])
    assert hidden.hide("card 4111111111111111 of 12") == f"card {MASK} of 12"
    echoed = mask(
        snapshot(gaps=(Gap(source="x", fact="y", what=ServerText("4111111111111111"), why=ServerText("")),)), hidden
    )
    assert echoed.gaps[0].what.raw == MASK
