"""The commands that ask no server: they explain, list, show, and load no more than they need."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib

import msgspec
import pytest
from markdown_it import MarkdownIt
from running import diag

from diag import catalog, config, places
from diag.cli.front import DIAGNOSTICS, OTHERS
from diag.diagnosis import explained

SLUGS = catalog.slugs()
DRIVERS = {"psycopg", "kafka", "redis", "hiredis"}


def loaded(*words):
    """Return the modules a command line has loaded when it is done, and what it printed."""
    script = (
        "import sys; sys.argv = ['diag', *sys.argv[1:]]\n"
        "import os; os._exit = lambda code: None\n"
        "from diag.__main__ import main; main()\n"
        "sys.stderr.write(repr(sorted(sys.modules)))\n"
    )
    ran = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=True, timeout=30)
    return set(ast.literal_eval(ran.stderr)), ran.stdout


def test_the_version_is_said_with_almost_nothing_loaded():
    modules, said = loaded("--version")
    assert re.fullmatch(r"diag \d+\.\d+\.\d+\S*\n", said)
    assert not {"typer", "msgspec", "rich", "jinja2", "diag.cli.run", "diag.config", *DRIVERS} & modules


@pytest.mark.parametrize("words", [("--help",), ("-h",), ("help",), ()])
def test_the_front_page_loads_no_typer_and_names_every_command(words):
    modules, said = loaded(*words)
    assert not {"typer", "msgspec", "rich", "jinja2", *DRIVERS} & modules
    assert [name for name in (*DIAGNOSTICS, *OTHERS) if not re.search(rf"^  {name} ", said, re.MULTILINE)] == []


@pytest.mark.parametrize("command", DIAGNOSTICS)
def test_help_of_a_command_loads_no_driver_and_no_sink(command):
    modules, said = loaded(command, "--help")
    assert not {"jinja2", "rich.markdown", "diag.report.terminal", *DRIVERS} & modules
    assert "--deadline" in said
    assert DIAGNOSTICS[command].question.split(",")[0] in " ".join(said.split())


@pytest.mark.parametrize("words", [("checks", "list"), ("config", "sample"), ("runbook", "list"), ("config", "show")])
def test_what_asks_no_server_loads_no_driver(words):
    modules, said = loaded(*words)
    assert said
    assert not {"jinja2", "rich.markdown", *DRIVERS} & modules


def test_a_replay_in_json_loads_no_driver_and_no_paper():
    modules, _ = loaded("pg-locks", "--from", str(places.demo_evidence()), "--format", "json")
    assert not {"jinja2", "rich", "diag.sources", *DRIVERS} & modules


def test_every_diagnostic_command_has_checks_and_every_check_a_command():
    assert set(catalog.commands()) == set(DIAGNOSTICS)
    said = diag("checks", "list").stdout
    assert [line.split()[0] for line in said.splitlines()] == list(SLUGS)


@pytest.mark.parametrize("slug", SLUGS)
def test_a_check_explains_its_facts_limits_queries_and_blind_spots(slug):
    ran = diag("checks", "explain", slug)
    check = explained(slug).check
    assert (ran.returncode, ran.stderr) == (0, "")
    assert [
        word for word in ("Facts", "Units", "Source", "Blind", "Needs", "What is sent") if word not in ran.stdout
    ] == []
    for name, value in msgspec.to_builtins(check.limits).items():
        (shown, reason) = re.search(rf"{slug}\.{name} = (\S+)\n\s+(.+)\n", ran.stdout).groups()
        assert ast.literal_eval(shown) == value
        assert len(reason) > 10, "every default carries its reason"
    assert all(need in ran.stdout for need in check.needs)
    assert f"diag runbook show {slug}" in ran.stdout


def test_the_sample_is_a_configuration_that_can_be_used(tmp_path):
    said = diag("config", "sample").stdout
    read = msgspec.convert(tomllib.loads(said), config.Config)
    assert read.default_context == "prod"
    file = tmp_path / "diag.toml"
    file.write_text(said)
    shown = diag("config", "show", "--config", str(file))
    assert shown.returncode == 0
    names = [line.split("  ")[0].strip() for line in shown.stdout.splitlines()]
    assert names[1:4] == ["kafka main", "postgres orders", "redis default"]
    limits = read.contexts["prod"].limits
    assert all(slug in SLUGS for slug in limits)
    assert diag("checks", "explain", next(iter(limits))).returncode == 0


def test_config_show_names_the_source_of_every_value(tmp_path):
    file = tmp_path / "diag.toml"
    file.write_text("[[contexts.prod.kafka]]\nbootstrap_servers = 'k:1'\n[contexts.prod]\n")
    environment = {
        "DIAG_CONTEXT": "prod",
        "DIAG_REDIS_URL": "redis://r",
        "LOKI_ADDR": "http://l",
        "DIAG_CONFIG": str(file),
    }
    said = diag("config", "show", environment=environment).stdout
    rows = [re.split(r"\s{2,}", line) for line in said.splitlines()]
    by_kind = {row[0].split()[0]: row[-1] for row in rows}
    assert by_kind["context"] == "variable DIAG_CONTEXT"
    assert by_kind["kafka"] == "context prod"
    assert by_kind["redis"] == "variable DIAG_REDIS_URL"
    assert by_kind["loki"] == "variable LOKI_ADDR"
    assert by_kind["postgres"] == "default"


@pytest.mark.parametrize("slug", SLUGS)
def test_every_check_has_a_runbook_that_can_be_shown(slug):
    ran = diag("runbook", "show", slug)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == (places.runbooks() / f"{slug}.md").read_text("utf-8")


def test_the_cache_pattern_that_steps_name_is_printed_whole_and_is_python():
    ran = diag("runbook", "pattern")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == (places.templates() / "cache_pattern.py").read_text("utf-8")
    compile(ran.stdout, "cache_pattern.py", "exec")


def test_the_list_of_runbooks_has_one_for_every_check():
    listed = {line.split()[0] for line in diag("runbook", "list").stdout.splitlines()}
    assert set(SLUGS) - listed == set()


def test_the_shipped_runbooks_are_well_formed():
    ran = diag("runbook", "lint")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert re.search(r"\d+ runbooks read", ran.stdout)


def test_a_runbook_that_is_not_well_formed_is_2_with_its_line(tmp_path):
    folder = tmp_path / "pg-locks"
    folder.mkdir()
    (folder / "lock-queue.md").write_text("# no front matter\n")
    ran = diag("runbook", "lint", str(tmp_path))
    assert ran.returncode == 2
    assert "pg-locks/lock-queue.md" in ran.stdout


def test_the_demo_needs_no_server_and_leaves_one_report(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-m", "diag", "demo"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=30
    )
    assert ran.returncode == 0
    assert ran.stdout.startswith("CRITICAL")
    assert [entry.name for entry in tmp_path.iterdir()] == ["demo-report.md"]
    page = (tmp_path / "demo-report.md").read_text()
    tokens = MarkdownIt("commonmark").enable("table").parse(page)
    headings = [tokens[at + 1].content for at, token in enumerate(tokens) if token.type == "heading_open"]
    assert headings[0] == "demo: critical"
    assert ran.stderr == "diag: the same as Markdown: demo-report.md\n"
    found = re.findall(r"^critical  (\S+)", ran.stdout, re.MULTILINE)
    assert found
    assert [slug for slug in found if slug not in page] == []


def test_the_demo_replaces_its_report_and_nobody_elses(tmp_path):
    (tmp_path / "demo-report.md").write_text("old")
    ran = diag("demo", "-o", str(tmp_path / "mine.md"))
    assert ran.returncode == 0
    assert (tmp_path / "demo-report.md").read_text() == "old"
    assert (tmp_path / "mine.md").read_text().startswith("# demo")


def test_the_recorded_incident_has_one_finding_of_each_system():
    found = []
    for command in DIAGNOSTICS:
        ran = diag(command, "--from", str(places.demo_evidence()), "--format", "json")
        found += [finding["check"].partition("/")[0] for finding in json.loads(ran.stdout)["findings"]]
    assert set(found) == {"kafka-lag", "pg-locks", "cache-stampede"}


def test_completion_names_commands_and_opens_no_connection():
    environment = {"_DIAG_COMPLETE": "complete_bash", "COMP_WORDS": "diag pg", "COMP_CWORD": "1"}
    ran = diag(environment=environment | {"PATH": os.environ["PATH"]})
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    ("command", "span", "refused"),
    [("kafka-lag", "2d", "a day at most"), ("cache-stampede", "8d", "seven days at most")],
)
def test_how_far_back_a_command_may_ask_is_bounded(command, span, refused):
    ran = diag(command, "--history", span)
    assert ran.returncode == 64
    assert refused in ran.stderr
