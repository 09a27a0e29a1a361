"""The house keeps its own rules: arrows, rooms, sizes, start-up, and what may be installed."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

from diag import catalog, places
from diag.diagnosis import explained
from diag.findings import Check

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "diag"
SLUGS = catalog.slugs()
MODULES = sorted(PACKAGE.rglob("*.py"))
CHECKS = [file for file in (PACKAGE / "checks").glob("*/*.py") if not file.stem.startswith("_")]
CORE = [file for room in ("checks", "findings", "analysis", "snapshots") for file in (PACKAGE / room).rglob("*.py")]
ALLOWED_IN_CORE = {
    "__future__", "bisect", "collections", "dataclasses", "datetime", "enum", "functools", "heapq", "itertools", "math",
    "msgspec", "operator", "re", "statistics", "string", "typing", "diag",
}  # fmt: skip
CLOCKS = {"now", "utcnow", "today", "time", "monotonic", "perf_counter", "time_ns", "process_time"}
SLOW = (
    "kafka", "psycopg", "redis", "requests", "prometheus_api_client", "dateparser", "jinja2", "rich.markdown", "numpy",
    "yaml", "markdown_it",
)  # fmt: skip
ACCEPTED = re.compile(r"apache|mit\b|bsd|isc\b|psf|python software|mozilla|mpl|cc0|unlicense|0bsd|zpl", re.IGNORECASE)
LGPL_BY_NAME = {"psycopg", "psycopg-binary", "crc32c"}


def of(file: Path) -> str:
    return str(file.relative_to(ROOT))


def room(slug: str) -> str:
    return slug.replace("-", "_")


def test_the_arrows_point_one_way():
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    if "No module named 'importlinter'" in ran.stderr:
        pytest.skip("import-linter is not installed here; make lint runs it")
    assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize("file", CORE, ids=of)
def test_the_core_imports_only_what_is_allowed(file):
    tree = ast.parse(file.read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in imported} <= ALLOWED_IN_CORE


@pytest.mark.parametrize("file", CORE, ids=of)
def test_the_core_has_no_clock(file):
    calls = [node.func for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
    assert not [call.attr for call in calls if isinstance(call, ast.Attribute) and call.attr in CLOCKS]


def test_checks_do_not_know_each_other():
    for file in CHECKS:
        others = {other.stem for other in CHECKS if other.parent == file.parent} - {file.stem}
        text = file.read_text()
        assert not [name for name in others if f"checks.{file.parent.name}.{name} " in text], of(file)
        foreign = re.findall(r"from diag\.checks\.(\w+)", text)
        assert set(foreign) <= {file.parent.name}, of(file)


def test_only_diagnosis_and_the_cli_import_by_name():
    users = {of(file) for file in MODULES if "import_module(" in file.read_text()}
    assert users == {"diag/diagnosis/plan.py", "diag/diagnosis/live.py", "diag/cli/run.py"}


@pytest.mark.parametrize("slug", SLUGS)
def test_every_check_has_its_four_rooms(slug):
    command, name = room(slug).split("/")
    assert (ROOT / "tests" / "checks" / command / f"test_{name}.py").is_file(), "its table test"
    assert (places.runbooks() / f"{slug}.md").is_file(), "its runbook"
    assert (PACKAGE / "lab" / f"{room(slug)}.py").is_file(), "its lab scenario"


def test_every_room_belongs_to_a_check():
    books = {str(book.relative_to(places.runbooks()).with_suffix("")) for book in places.runbooks().glob("*/*.md")}
    proofs = (ROOT / "tests" / "checks").glob("*/test_*.py")
    tests = {f"{file.parent.name}/{file.stem.removeprefix('test_')}" for file in proofs}
    assert books - set(SLUGS) == set()
    assert {slug.replace("_", "-") for slug in tests} - set(SLUGS) == set()


@pytest.mark.parametrize("slug", SLUGS)
def test_every_check_says_what_it_rests_on(slug):
    planned = explained(slug)
    assert isinstance(planned.check, Check)
    assert set(planned.check.explains) <= set(SLUGS)
    text = (PACKAGE / "checks" / f"{room(slug)}.py").read_text()
    for line in ("Facts", "Units", "Source", "Blind"):
        assert re.search(rf"^{line}\s+\S", text, re.MULTILINE), f"the header says nothing on {line}"
    for need in planned.needs:
        missing = [fact for fact in planned.check.needs if not re.match(r"^[a-z_]+$", fact)]
        assert not missing, need


@pytest.mark.parametrize("slug", SLUGS)
def test_every_limit_gives_its_reason(slug):
    text = (PACKAGE / "checks" / f"{room(slug)}.py").read_text()
    body = text[text.index("class Limits") : text.index("def judge")]
    for line in body.splitlines():
        if re.match(r"^    \w+: \w+ =", line):
            assert re.search(r"#\s*\w+", line), line


def test_sizes_that_keep_it_readable():
    for file in MODULES:
        assert len(file.read_text().splitlines()) <= 400, of(file)
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef):
                assert (node.end_lineno or 0) - node.lineno < 60, f"{of(file)}: {node.name}"
    for file in CHECKS:
        assert 40 <= len(file.read_text().splitlines()) <= 90, of(file)


def test_names_that_say_nothing_are_not_used():
    assert not [of(file) for file in MODULES if file.stem in {"utils", "helpers", "common", "manager", "misc", "data"}]


def test_broad_catches_exist_in_two_places_only():
    users = {of(file) for file in MODULES if re.search(r"except (Exception|BaseException)\b", file.read_text())}
    assert users == {"diag/cli/run.py", "diag/diagnosis/live.py"}


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["pg-locks", "--help"], ["kafka-lag", "--help"]])
def test_help_loads_no_driver(words):
    program = f"import sys; sys.argv = ['diag', *{words!r}]; import os; os._exit = lambda code: None\n"
    program += "from diag.__main__ import main; main(); print(sorted(sys.modules), file=sys.stderr)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(ast.literal_eval(ran.stderr.strip().splitlines()[-1]))
    assert not [name for name in SLOW if name in loaded]
    if words[0].startswith("--"):
        assert "typer" not in loaded


def test_only_licences_we_accept_are_installed():
    for one in importlib.metadata.distributions():
        name = one.metadata["Name"].lower()
        said = " ".join(
            (
                one.metadata.get("License-Expression") or "",
                (one.metadata.get("License") or "")[:100],
                *(line for line in one.metadata.get_all("Classifier") or () if line.startswith("License")),
            )
        )
        if name in LGPL_BY_NAME:
            continue
        assert ACCEPTED.search(said), f"{name}: {said!r}"
        assert not re.search(r"\bA?L?GPL", said) or re.search(r" or ", said, re.IGNORECASE), f"{name}: {said!r}"


def test_no_address_of_a_registry_is_pinned():
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9_.+!-]+|#.*|", pin) for pin in pins)
