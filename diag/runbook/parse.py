"""From the text of a book to a `Runbook`, or to every reason why not.

A book is CommonMark, so it reads well in any viewer: a YAML front matter, one `#` title, prose
for the first screen, then steps. A step is a heading `## N. Title`, prose, and one fence
`yaml diag:<kind>`. Other fences are illustrations and nothing ever runs them.

Source   CommonMark 0.31 (fenced code blocks, HTML blocks)
"""

from __future__ import annotations

import re
from datetime import date
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from markdown_it import MarkdownIt
from msgspec import Struct

from diag.errors import RunbookError
from diag.runbook.fields import SLUG, VARIABLE, Fields, Notes
from diag.runbook.model import (
    PARAMETER_UNITS,
    Alert,
    Escalation,
    Parameter,
    Review,
    Runbook,
    Step,
)
from diag.runbook.steps import KINDS, step
from diag.runbook.strict_yaml import YamlError, mapping

if TYPE_CHECKING:
    from collections.abc import Iterator

    from markdown_it.token import Token

    from diag.runbook.condition import Measure

BY_HAND_BEGIN: Final = "<!-- by hand: made by diag runbook lint --write -->"
"""The line above the generated section."""
BY_HAND_END: Final = "<!-- end of by hand -->"
"""The line below the generated section."""

_BYTES_MAX = 65_536  # a book of 150 lines has about 10 000; more is not a book for 3 a.m.
_ILLUSTRATIONS: Final = frozenset({"sql", "sh", "text"})
_FORMAT = "runbook/1"
_REVIEW_MAX_S = 366 * 86_400.0
_HEADING: Final = re.compile(r"([1-9][0-9]{0,2})\. (\S.*)")
_ROLE: Final = re.compile(r"[a-z]+(?:-[a-z]+)*")  # no capital, no space, no dot: a role, not a person
_ESCALATE: Final = re.compile(r"([a-z]+(?:-[a-z]+)*), after (\d{1,3}) min")
_DATE: Final = re.compile(r"20\d{2}-\d{2}-\d{2}", re.ASCII)
_LABEL: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SYSTEMS: Final = ("pg", "kafka", "redis", "prometheus", "loki", "jaeger")


class _Fence(Struct, frozen=True, kw_only=True):
    """A fence `yaml diag:<kind>`, not yet read as YAML."""

    kind: str
    line: int
    yaml: str


class _Section(Struct, frozen=True, kw_only=True):
    """A step as it stands in the Markdown: its heading and the fences below it."""

    number: int
    title: str
    line: int
    fences: list[_Fence]


def parse(text: str, *, source: str) -> Runbook:
    """Read a book. `source` is its path and has to end in its slug with `.md`.

    Raises `RunbookError` whose `problems` hold one `source:line: sentence` for each thing wrong.
    """
    notes = Notes()
    book = _read(text, source, notes)
    if book is None or len(notes):
        msg = f"{PurePosixPath(source).name} is not a well-formed runbook"
        raise RunbookError(msg, problems=notes.lines(source))
    return book


def _read(text: str, source: str, notes: Notes) -> Runbook | None:
    if not _is_plain(text, notes):
        return None
    lines = text.split("\n")
    closing = next((at for at, line in enumerate(lines) if at and line == "---"), 0)
    if lines[0] != "---" or not closing:
        notes.add(1, "a book begins with front matter between two lines `---`")
        return None
    try:
        front = Fields(mapping("\n".join(lines[1:closing]), first_line=2), of="front matter", notes=notes)
    except YamlError as error:
        notes.add(error.line, f"front matter: {error.message}")
        front = None
    page = _Page(lines, closing + 1, notes)
    read = [_step(section, lines, notes) for section in page.sections]
    steps = tuple(one for one in read if one is not None)
    return None if front is None else _book(front, page, steps, text, source)


def _is_plain(text: str, notes: Notes) -> bool:
    if len(text.encode("utf-8", "surrogatepass")) > _BYTES_MAX:
        notes.add(1, f"a book has at most {_BYTES_MAX} bytes")
        return False
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.isprintable():
            notes.add(number, "holds a character that cannot be seen (a tab, a carriage return, a control)")
    return not len(notes)


# --- the Markdown --------------------------------------------------------------------------


class _Page:
    """What the Markdown holds, read block by block, before the YAML of any step is looked at."""

    def __init__(self, lines: list[str], skipped: int, notes: Notes) -> None:
        """Read the lines after the first `skipped`."""
        self.title, self.title_line = "", skipped + 1
        self.sections: list[_Section] = []
        self.by_hand, self.by_hand_line = "", 0
        self._lines, self._skipped, self._notes = lines, skipped, notes
        self._after_steps = False
        self._marked: dict[str, int] = {}
        # Inline rules are off: blocks are all that is needed, and they take linear time.
        tokens = MarkdownIt("commonmark").disable(["inline"]).parse("\n".join(lines[skipped:]))
        for at, token in enumerate(tokens):
            self._block(token, tokens[at + 1].content if token.type == "heading_open" else "")
        if not self.title:
            notes.add(skipped + 1, "the title, a line `# …`, is missing")
        if not self.sections:
            notes.add(len(lines), "a book has at least one step, a heading `## 1. …`")
        self._section_by_hand()

    def _block(self, token: Token, heading: str) -> None:
        line = (token.map or [0])[0] + self._skipped + 1
        if token.type == "heading_open" and token.level == 0:
            self._heading(token.markup, heading, line)
        elif token.type == "fence":
            self._fence(token, line)
        elif token.type == "html_block" and (marker := token.content.strip()) in {BY_HAND_BEGIN, BY_HAND_END}:
            if marker in self._marked:
                self._notes.add(line, f"the marker `{marker}` stands twice")
            self._marked[marker] = line

    def _heading(self, markup: str, text: str, line: int) -> None:
        if markup in {"=", "-"}:
            self._notes.add(line, "headings begin with `#`; an underlined one is easily overlooked")
        elif markup == "#" and (self.title or self.sections):
            self._notes.add(line, "a second title: there is one line `# …`, above the steps")
        elif markup == "#":
            self.title, self.title_line = text, line
        elif markup == "##":
            self._section(text, line)

    def _section(self, text: str, line: int) -> None:
        found = _HEADING.fullmatch(text)
        if found is None:
            if text[:1].isdigit() or not self.sections:
                self._notes.add(line, f"a step heading has the form `## N. Title`, not `## {text}`")
            self._after_steps = True
            return
        if self._after_steps:
            self._notes.add(line, "a step stands after the last section; steps come first")
        expected = len(self.sections) + 1
        if int(found[1]) != expected:
            self._notes.add(line, f"step {found[1]} should be step {expected}: steps are numbered without gaps")
        self.sections.append(_Section(number=expected, title=found[2], line=line, fences=[]))

    def _fence(self, token: Token, line: int) -> None:
        begin, end = token.map or [0, 0]
        last = self._lines[end + self._skipped - 1].strip()
        if token.level == 0 and not (end - begin > 1 and last.startswith(token.markup)):
            self._notes.add(line, "the fence is not closed")
        words = token.info.split()
        if len(words) == 1 and words[0] in _ILLUSTRATIONS:
            return
        kind = words[1].removeprefix("diag:") if len(words) > 1 and words[1].startswith("diag:") else ""
        if len(words) != 2 or words[0] != "yaml" or kind not in KINDS:  # noqa: PLR2004  `yaml` and the kind
            allowed = f"`yaml diag:KIND` with a kind of {', '.join(KINDS)}, or an illustration: sql, sh, text"
            self._notes.add(line, f"a fence is {allowed}; not `{token.info.strip()}`")
        elif token.level:
            self._notes.add(line, "the fence of a step stands at the margin, not inside a list or a quotation")
        elif not self.sections or self._after_steps:
            self._notes.add(line, "the fence of a step stands below the heading of that step")
        else:
            self.sections[-1].fences.append(_Fence(kind=kind, line=line, yaml=token.content))

    def _section_by_hand(self) -> None:
        first, last = self._marked.get(BY_HAND_BEGIN, 0), self._marked.get(BY_HAND_END, 0)
        if bool(first) != bool(last) or first > last:
            self._notes.add(first or last, "the markers of the section `by hand` have to stand in a pair")
        elif first and self.sections and self.sections[-1].line > first:
            self._notes.add(first, "the section `by hand` comes after the last step")
        elif first:
            self.by_hand, self.by_hand_line = "\n".join(self._lines[first : last - 1]), first


def _step(section: _Section, lines: list[str], notes: Notes) -> Step | None:
    if len(section.fences) != 1:
        notes.add(section.line, f"step {section.number} has {len(section.fences)} fences `yaml diag:…`; it needs one")
    for fence in section.fences[:1]:
        try:
            held = mapping(fence.yaml, first_line=fence.line + 1)
        except YamlError as error:
            notes.add(min(error.line, len(lines)), f"step {section.number}: {error.message}")
            continue
        fields = Fields(held, of=f"step {section.number}", notes=notes)
        return step(fence.kind, fields, number=section.number, title=section.title, line=section.line)
    return None


# --- the front matter ----------------------------------------------------------------------


def _book(front: Fields, page: _Page, steps: tuple[Step, ...], text: str, source: str) -> Runbook | None:
    if (form := front.text("diag")) and form != _FORMAT:
        front.wrong("diag", f"is `{_FORMAT}`, the form this program reads, not `{form}`")
    slug = front.text("id", like=SLUG)
    if slug and "/".join(PurePosixPath(source).parts[-2:]) != f"{slug}.md":
        front.wrong("id", f"is `{slug}`, so the file has to be {slug}.md")
    title = front.text("title")
    if title and page.title and title != page.title:
        front.notes.add(page.title_line, f"the heading `# {page.title}` is not the title `{title}`")
    alerts, params = tuple(_alerts(front)), tuple(_params(front))
    owner, escalate, reviewed = front.text("owner", like=_ROLE), _escalation(front), _review(front)
    findings = front.texts("findings", like=SLUG)
    needs, tests = _needs(front), front.texts("tests", needed=False)
    front.close()
    if escalate is None or reviewed is None:
        return None
    lines = text.split("\n")
    first = page.sections[0].line if page.sections else len(lines)
    return Runbook(
        slug=slug, title=title, alerts=alerts, findings=findings, needs=needs, params=params, owner=owner,
        escalate=escalate, reviewed=reviewed, tests=tests, lead="\n".join(lines[page.title_line : first - 1]).strip(),
        steps=steps, text=text, by_hand=page.by_hand, by_hand_line=page.by_hand_line,
    )  # fmt: skip


def _alerts(front: Fields) -> Iterator[Alert]:
    for held in front.blocks("alerts"):
        labels = held.block("labels", needed=False)
        read = {key: labels.text(key) for key in labels.each()} if labels else {}
        called = held.text("name", like=_LABEL)
        held.close()
        yield Alert(name=called, labels=read)


def _needs(front: Fields) -> dict[str, tuple[str, ...]]:
    held = front.block("needs")
    if held is None:
        return {}
    read = {key: held.texts(key) for key in held.each()}
    for key in read:
        if key not in _SYSTEMS:
            held.wrong(key, f"is not one of {', '.join(_SYSTEMS)}")
    return read


def _params(front: Fields) -> Iterator[Parameter]:
    held = front.block("params", needed=False)
    for called in held.each() if held else ():
        one = held.block(called) if held else None
        if one is None:
            continue
        if not VARIABLE.fullmatch(called):
            one.notes.add(one.line, f"{one.of}: a parameter has a name like min_wait")
        kind, why = one.choice("type", (*PARAMETER_UNITS, "text")), one.text("why")
        if kind in PARAMETER_UNITS:
            unit = PARAMETER_UNITS[kind]
            default, least, most = (one.measure(key, unit, needed=False) for key in ("default", "min", "max"))
            _in_range(one, default, least, most)
            yield Parameter(name=called, type=kind, why=why, default=default, least=least, most=most)
        else:
            yield Parameter(name=called, type="text", why=why, default=one.text("default", needed=False) or None)
        one.close()


def _in_range(held: Fields, default: Measure | None, least: Measure | None, most: Measure | None) -> None:
    if default and least and default.value < least.value:
        held.wrong("default", "is below `min`")
    if default and most and default.value > most.value:
        held.wrong("default", "is above `max`")


def _escalation(front: Fields) -> Escalation | None:
    text = front.text("escalate")
    found = _ESCALATE.fullmatch(text)
    if found is None:
        if text:
            front.wrong("escalate", f"has the form `role, after 15 min`, not `{text}`")
        return None
    return Escalation(role=found[1], after_s=60.0 * int(found[2]))


def _review(front: Fields) -> Review | None:
    held = front.block("reviewed")
    if held is None:
        return None
    text, by, good_for_s = held.text("date", like=_DATE), held.text("by", like=_ROLE), held.seconds("good_for")
    held.close()
    try:
        at = date.fromisoformat(text) if text else None
    except ValueError:
        held.wrong("date", f"is not a day: `{text}`")
        return None
    if good_for_s > _REVIEW_MAX_S:
        held.wrong("good_for", "is longer than a year: systems change faster")
        return None
    return Review(at=at, by=by, good_for_s=good_for_s) if at and by and good_for_s else None
