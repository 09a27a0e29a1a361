"""Conditions: what can be written, and what is answered when something is not known."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diag.errors import RunbookError
from diag.runbook.condition import Comparison, Every, Literal, Measure, Missing, Name, Not, Some, Truth, evaluate, names
from diag.runbook.grammar import condition, measure, name, placeholders, split

T, F, U = Truth.TRUE, Truth.FALSE, Truth.UNKNOWN

WORLD = {
    "yes": True,
    "no": False,
    "n": 10,
    "waited": Measure(value=90.0, unit="s"),
    "share": Measure(value=0.05, unit="ratio"),
    "state": "active",
    "states": ("active", "idle"),
    "nan": math.nan,
    "gone": Missing.ABSENT,
    "denied": Missing.UNKNOWN,
    'finding("a/b").pid': 7,
    'finding("a/b")': True,
    'finding("c/d")': Missing.ABSENT,
    'finding("e/f")': Missing.UNKNOWN,
}


def judged(text: str) -> Truth:
    return evaluate(condition(text), lambda asked: WORLD[str(asked)])


KLEENE = [
    (T, T, T, T), (T, F, F, T), (T, U, U, T),
    (F, T, F, T), (F, F, F, F), (F, U, F, U),
    (U, T, U, T), (U, F, F, U), (U, U, U, U),
]  # fmt: skip
WORDS = {T: "yes", F: "no", U: "denied"}


@pytest.mark.parametrize(("left", "right", "both", "either"), KLEENE)
def test_and_and_or_follow_the_strong_tables_of_kleene(left, right, both, either):
    assert judged(f"{WORDS[left]} and {WORDS[right]}") is both
    assert judged(f"{WORDS[left]} or {WORDS[right]}") is either


@pytest.mark.parametrize(("given_", "turned"), [(T, F), (F, T), (U, U)])
def test_not_turns_the_known_and_leaves_the_unknown(given_, turned):
    assert judged(f"not {WORDS[given_]}") is turned
    assert judged(f"not not {WORDS[given_]}") is given_


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("n == 10", T), ("n != 10", F), ("n < 10", F), ("n <= 10", T), ("n > 9.5", T), ("n >= 11", F),
        ("waited > 1m", T), ("waited >= 90s", T), ("waited < 1m", F), ("waited == 90000ms", T), ("waited < 1d", T),
        ("share == 5%", T), ("share < 1%", F), ("10 == n", T), ("waited > 80", T),
        ('state == "active"', T), ('state != "active"', F), ('state in ["idle", "active"]', T),
        ('state in ["idle"]', F), ('"idle" in states', T), ('"gone" in states', F),
        ("yes", T), ("no == false", T), ("yes == true", T),
        ('finding("a/b").pid == 7', T), ('has(finding("a/b"))', T), ('has(finding("c/d"))', F),
        ("has(n)", T), ("has(gone)", F), ("not has(gone)", T),
        # not known, or not comparable: never a yes and never a no
        ('has(finding("e/f"))', U), ("has(denied)", U), ("gone == 1", U), ("gone != 1", U), ("denied < 1", U),
        ("denied", U), ("gone", U), ("n", U), ("state", U), ("not state", U),
        ("waited > 5%", U), ("waited == 5%", U), ("waited != 5%", U), ("share > 1s", U),
        ("state == 1", U), ("state != 1", U), ("n == true", U), ("state > 1", U), ("n in states", U),
        ('denied in ["a"]', U), ('"a" in denied', U), ('"a" in state', U), ("nan == 1", U), ("nan < 1", U),
        ("states == 1", U),
        # binding: not before and before or
        ("no and no or yes", T), ("yes or no and no", T), ("(yes or no) and no", F), ("not no and no", F),
        ("not (no and no)", T),
    ],
)  # fmt: skip
def test_answers(text, answer):
    assert judged(text) is answer


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "expected a name or a value before the end"),
        ("a ==", "expected a name or a value before the end"),
        ("a = 1", "cannot read `= 1`"),
        ("a + 1", "cannot read `+ 1`"),
        ("a < b < c", "did not expect `<` here"),
        ("a b", "did not expect `b` here"),
        ("(a", "expected `)` before the end"),
        ("a[0]", "did not expect `[` here"),
        ("len(a) > 1", "did not expect `(` here"),
        ("a.b() == 1", "did not expect `(` here"),
        ("__import__('os')", "did not expect `(` here"),
        ("a == 'x'", "cannot read `'x'`"),
        ('a == "x', 'cannot read `"x`'),
        ("a > 5parsecs", "`5parsecs` is not a number with a unit of"),
        ("a > 1234567890123456", "a number has at most 15 digits"),
        ('a > "b"', "`>` orders numbers only"),
        ("a > true", "`>` orders numbers only"),
        ("1 == 1", "both sides are fixed values"),
        ("1 in [1]", "both sides are fixed values"),
        ('a in "abc"', "right of `in` stands a list or a name"),
        ("a in []", "expected a name or a value before `]`"),
        ("a in [b]", "expected a name or a value before `b`"),
        ("1", "a text, a number or a bare finding is not a condition"),
        ('finding("a/b")', "a text, a number or a bare finding is not a condition"),
        ('finding("a/b") == 1', 'needs a part, such as `finding("a/b").pid`'),
        ("finding(a).b == 1", "expected a text before `a`"),
        ("has(1)", "expected a word before `1`"),
        ("has and b", "expected `(` before `and`"),
        ("a.not == 1", "`not` is a word of the language"),
        ("a not in [1]", "did not expect `not` here"),
        ("(" * 17 + "a" + ")" * 17, "nests at most 16 deep"),
        ("a or " * 101 + "a", "at most 500 characters"),
    ],
)
def test_what_cannot_be_written(text, complaint):
    with pytest.raises(RunbookError) as caught:
        condition(text)
    assert complaint in caught.value.message


def test_the_tree_is_what_the_text_says():
    assert condition('not a.b >= 2m or has(c) and d in ["x"]') == Some(
        parts=(
            Not(of=Comparison(left=Name(parts=("a", "b")), operator=">=", right=Literal(value=_seconds(120)))),
            Every(parts=(condition("has(c)"), condition('d in ["x"]'))),
        )
    )
    assert [str(one) for one in names(condition('a.b > 1 and (has(c) or not finding("e/f").g == h)'))] == [
        "a.b", "c", 'finding("e/f").g', "h",
    ]  # fmt: skip


def _seconds(count: float) -> Measure:
    return Measure(value=count, unit="s")


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [("250ms", 0.25, "s"), ("2h", 7200.0, "s"), ("180d", 15_552_000.0, "s"), ("1.5%", 0.015, "ratio"),
     ("2MiB", 2_097_152.0, "bytes"), ("1GiB", 1_073_741_824.0, "bytes"), ("3KiB", 3072.0, "bytes"), ("-4", -4.0, "")],
)  # fmt: skip
def test_measures_are_kept_in_one_unit_of_each_kind(text, value, unit):
    assert measure(text) == Measure(value=pytest.approx(value), unit=unit)


def test_truth_is_no_boolean():
    with pytest.raises(TypeError, match="three values"):
        bool(T)


def test_placeholders_are_names_and_nothing_else():
    assert placeholders('x {{a.b}} y {{ finding("c/d").e }}') == (name("a.b"), name('finding("c/d").e'))
    assert list(split("x {{a}}{{b}} y")) == ["x ", name("a"), name("b"), " y"]
    assert placeholders("{ one } brace, } and {") == ()
    for wrong in ("{{", "{{a", "{{}}", "{{a b}}", "{{a()}}", "{{1}}", "{{a}} {{"):
        with pytest.raises(RunbookError):
            placeholders(wrong)


@given(st.text(max_size=80) | st.text(alphabet='ab.()[]"<>=!,0159%sm inotrdhafg', max_size=60))
def test_any_text_is_a_condition_or_a_runbook_error(text):
    for reader in (condition, name, measure, placeholders):
        try:
            reader(text)
        except RunbookError as error:
            assert error.message  # noqa: PT017  a condition is allowed too


TREES = st.recursive(
    st.sampled_from(["yes", "no", "denied"]),
    lambda inner: (
        st.tuples(inner, inner).map(lambda two: f"({two[0]} and {two[1]})")
        | st.tuples(inner, inner).map(lambda two: f"({two[0]} or {two[1]})")
        | inner.map(lambda one: f"not {one}")
    ),
    max_leaves=8,
)


@given(TREES)
def test_a_known_answer_holds_whatever_the_unknown_turns_out_to_be(text):
    if (answer := judged(text)) is U:
        return
    for turn in (True, False):
        assert (
            evaluate(condition(text), lambda one, turn=turn: turn if str(one) == "denied" else WORLD[str(one)])
            is answer
        )
