"""Server text: nothing unseen comes out of it, and nothing of it comes out by accident."""

from __future__ import annotations

import json
import re

import jinja2
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diag.text import KeyText, ServerText, SqlText, visible

ANY_TEXT = st.text(st.characters(exclude_categories=()))  # lone surrogates too
NO_BACKSLASH = st.text(st.characters(exclude_categories=(), exclude_characters="\\"))
_SHORT = {"n": "\n", "r": "\r", "t": "\t", "e": "\x1b", "0": "\x00"}
_ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|([nrte0]))")


def read_back(shown: str) -> str:
    r"""Undo the escapes, written from their description alone: `\xNN` from 80 on is a byte, not a character."""

    def char(found: re.Match[str]) -> str:
        if found[4]:
            return _SHORT[found[4]]
        code = int(found[1] or found[2] or found[3], 16)
        return chr(code + 0xDC00) if found[1] and code > 0x7F else chr(code)

    return _ESCAPE.sub(char, shown)


@given(ANY_TEXT)
def test_whatever_the_text_every_visible_character_is_printable(text):
    assert visible(text).isprintable()


@given(NO_BACKSLASH)
def test_two_names_without_backslashes_never_look_the_same(text):
    assert read_back(visible(text)) == text


@given(st.text(st.characters(exclude_categories=("C", "Z"))))
def test_a_printable_name_is_shown_as_it_is(text):
    assert visible(text) == text


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain", "plain"),
        ("with space", "with space"),
        ("über 名前 🦉", "über 名前 🦉"),
        ("a\nb\rc\td", "a\\nb\\rc\\td"),
        ("\x1b[31m", "\\e[31m"),
        ("\x00", "\\0"),
        ("\x7f", "\\x7f"),
        ("\x01", "\\x01"),
        ("\x9b31m", "\\u009b31m"),  # C1: a terminal takes it for ESC [
        ("\xa0", "\\u00a0"),
        ("\u202egnp", "\\u202egnp"),
        ("a\u200bb\ufeff", "a\\u200bb\\ufeff"),
        ("\u2028", "\\u2028"),
        ("\U000e0041", "\\U000e0041"),  # a tag character
        ("\udc9b", "\\x9b"),  # the byte 9b that was not UTF-8
        ("\ud800", "\\ud800"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(raw, shown):
    assert visible(raw) == shown


def test_a_control_character_and_an_undecodable_byte_of_the_same_number_look_different():
    assert ServerText.of_bytes(b"\x9b").visible != ServerText.of_bytes("\x9b".encode()).visible


@pytest.mark.parametrize("kind", [ServerText, SqlText, KeyText])
@pytest.mark.parametrize(
    "leak",
    [
        str,
        lambda text: f"name {text}",
        lambda text: f"{text:>20}",
        "name %s".__mod__,
        "name {}".format,
        format,
        lambda text: ", ".join(iter([text])),
        lambda text: "a" + text,
        lambda text: json.dumps({"name": text}),
        msgspec.json.encode,
        lambda text: jinja2.Template("{{ x }}").render(x=text),
        lambda text: jinja2.Template("{{ 'a' ~ x }}").render(x=text),
        print,
    ],
)
def test_no_implicit_way_turns_server_text_into_output(kind, leak):
    with pytest.raises(TypeError):
        leak(kind("orders"))


@given(st.binary())
def test_the_bytes_a_server_sent_come_back_exactly(raw):
    assert ServerText.of_bytes(raw).as_bytes == raw


def test_text_of_another_kind_is_another_thing():
    assert ServerText("a") == ServerText("a")
    assert ServerText("a") != KeyText("a")
    assert ServerText("a") != "a"
    assert len({ServerText("a"), ServerText("a"), SqlText("a")}) == 2


def test_a_fact_does_not_change():
    text = ServerText("a")
    with pytest.raises(AttributeError):
        text.raw = "b"  # type: ignore[misc]
    assert text.raw == "a"


@given(ANY_TEXT)
def test_a_failing_test_may_print_it_without_harm(text):
    assert repr(ServerText(text)).isprintable()


@given(st.lists(ANY_TEXT))
def test_names_sort_by_their_exact_text(names):
    assert [text.raw for text in sorted(map(ServerText, names))] == sorted(names)


@given(ANY_TEXT)
def test_only_what_is_wholly_visible_can_be_pasted(text):
    assert ServerText(text).can_be_pasted == (visible(text) == text)
