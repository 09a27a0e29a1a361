"""No password in any output: not of a right one, not of a wrong one, not of one nobody can parse."""

from __future__ import annotations

import re
from urllib.parse import quote

import psycopg
import pytest
import redis
from running import diag

from diag import config
from diag.lab import services

LEFT, RIGHT = "Zq9left", "Zq9right"
TRACE = re.compile("Zq9|WnE5", re.IGNORECASE)  # the canary, and its beginning in base64
WARNING = "diag: warning: a password on the command line can be seen by others on this machine"
DELIMITERS = ["", "/", "@", "#", "?", ":", "[", "%zz", "%2F", "'", '"', "\\", " ", "|", "`", "é", "&", "=", "$x"]
FORMATS = ["text", "json", "markdown", "nagios"]


def silent_about(ran):
    """Nothing of the canary was said, and nothing that `diag` calls a bug."""
    said = ran.stdout + ran.stderr
    assert not TRACE.search(said), said
    assert "bug" not in said
    assert "Traceback" not in said
    return ran


def look(number, *words):
    """Run a diagnostic command in one of the formats in turn."""
    shape = ("--format", FORMATS[number % len(FORMATS)], "--samples", "1", "--deadline", "3")
    return silent_about(diag(*words, *shape[: 2 if words[0] == "pg-locks" else None]))


@pytest.fixture(scope="module")
def role(postgres):
    """A role that needs a password, and how to reach it."""
    with psycopg.connect(postgres.dsn, autocommit=True) as admin:
        admin.execute("CREATE ROLE canary LOGIN PASSWORD 'the right one'")
    yield postgres.port
    with psycopg.connect(postgres.dsn, autocommit=True) as admin:
        admin.execute("DROP ROLE canary")


def in_dsn(secret):
    return "'" + secret.replace("\\", "\\\\").replace("'", "\\'") + "'"


@pytest.mark.parametrize("delimiter", DELIMITERS)
def test_a_wrong_postgresql_password_is_not_echoed(role, delimiter):
    secret = LEFT + delimiter + RIGHT
    number = DELIMITERS.index(delimiter)
    addresses = [
        f"host=127.0.0.1 port={role} dbname=postgres user=canary password={in_dsn(secret)}",
        f"postgresql://canary:{quote(secret, safe='')}@127.0.0.1:{role}/postgres",
        f"postgresql://canary:{secret}@127.0.0.1:{role}/postgres",  # as people type it
    ]
    for address in addresses if number < 3 else addresses[1 + number % 2 :][:1]:
        ran = look(number, "pg-locks", "--dsn", address)
        assert ran.returncode == (3 if FORMATS[number % 4] == "nagios" else 69)
        assert ran.stderr.splitlines() == [WARNING]


@pytest.mark.parametrize(
    "dsn",
    [
        f"password={LEFT} {RIGHT} host=127.0.0.1 port=1",
        f"host=127.0.0.1 port=1 password='{LEFT}",
        f"host=127.0.0.1 port=1 password='{LEFT}'{RIGHT}",
        f"host=127.0.0.1 port=1 passwrod password={LEFT}",
        f"host=127.0.0.1 port=1 password={LEFT}\\",
        f"host=127.0.0.1 port=1 sslpassword={LEFT}",
        f"postgresql://u:{LEFT}@[::1/db",
        f"postgresql://u:{LEFT}@127.0.0.1:port/db",
        f"postgresql://me@corp.example:{LEFT}@127.0.0.1:1/db",
        f"postgresql://127.0.0.1:1/db?password={LEFT}&sslmode=maybe",
        f"postgres:/u:{LEFT}@127.0.0.1/db",
        f"u:{LEFT}@127.0.0.1:1",
    ],
)
def test_a_connection_string_nobody_can_parse_is_not_quoted(dsn):
    ran = look(0, "pg-locks", "--dsn", dsn)
    assert ran.returncode == 69
    assert ran.stderr.splitlines() == [WARNING]
    assert not TRACE.search(config.PostgresTarget(dsn=dsn).address)


@pytest.mark.parametrize("delimiter", DELIMITERS)
def test_a_wrong_redis_password_is_not_echoed(guarded, delimiter):
    secret = LEFT + delimiter + RIGHT
    number = DELIMITERS.index(delimiter)
    user = ("", "oncall")[number % 2]
    for written in (quote(secret, safe=""), secret)[: 2 if number < 7 else 1]:
        url = f"redis://{user}:{written}@127.0.0.1:{guarded.port}/0"
        ran = look(number, "cache-stampede", "--redis-url", url)
        assert ran.returncode == (3 if FORMATS[number % 4] == "nagios" else 69)
        assert ran.stderr.splitlines() == [WARNING]


def test_config_show_masks_every_address_whatever_is_in_the_password():
    for delimiter in DELIMITERS:
        url = f"redis://oncall:{LEFT}{delimiter}{RIGHT}@127.0.0.1:1/0"
        assert not TRACE.search(config.settle({}, {"REDIS_URL": url}).shown[3].value)
    ran = silent_about(diag("config", "show", environment={"REDIS_URL": url, "DIAG_DSN": f"password={LEFT} host=h"}))
    assert ran.stdout.count("***") == 2


@pytest.fixture(scope="module")
def guarded(lab_folder):
    """A Redis server that asks for a password."""
    server = services.start_redis(lab_folder / "guarded", requirepass="the right one")
    yield server
    services.stop(server)


def test_a_kafka_address_with_a_password_in_it_is_not_quoted():
    ran = look(1, "kafka-lag", "--bootstrap-servers", f"SASL_SSL://oncall:{LEFT}@127.0.0.1:1")
    assert ran.stderr.splitlines() == [WARNING]


SPECIAL = f"{LEFT}'\"\\ |`%/@{RIGHT}"


def test_the_right_password_is_in_neither_report_nor_evidence(private_redis, tmp_path):
    server = private_redis(requirepass=f"{LEFT}/@|`{RIGHT}")
    for number, name in enumerate(FORMATS):
        file = tmp_path / f"{name}.diag"
        ran = silent_about(diag("cache-stampede", "--redis-url", server.url, "-f", name, "--save", str(file)))
        assert (ran.returncode, ran.stderr.splitlines()) == (0, [WARNING]), number
        assert not TRACE.search(file.read_bytes().decode("latin-1"))


def test_a_server_that_echoes_the_password_is_masked(private_redis):
    """A key named after the credential: the report says the family, and not its name."""
    secret = f"{LEFT}-pass"
    server = private_redis(requirepass=secret)
    with redis.Redis(port=server.port, password=secret) as client:
        pipe = client.pipeline()
        for number in range(600):
            pipe.set(f"{secret}:{number}", "x", ex=300)
        pipe.execute()
    ran = silent_about(diag("cache-stampede", "--redis-url", server.url, "-f", "json"))
    assert "‹masked›" in ran.stdout
    assert ran.returncode == 1


@pytest.mark.parametrize("where", ["password", "password_file", "password_command"])
def test_a_wrong_password_from_the_file_is_not_echoed_either(guarded, role, where, tmp_path):
    (tmp_path / "secret").write_text(SPECIAL + "\n")
    (tmp_path / "say").write_text(f"cat '{tmp_path}/secret'\n")
    value = {
        "password": "'''" + SPECIAL + "'''",
        "password_file": f"'{tmp_path}/secret'",
        "password_command": f"['sh', '{tmp_path}/say']",
    }[where]
    file = tmp_path / "diag.toml"
    file.write_text(
        f"[[contexts.default.redis]]\nurl = 'redis://127.0.0.1:{guarded.port}'\n{where} = {value}\n"
        "[[contexts.default.postgres]]\n"
        f"dsn = 'host=127.0.0.1 port={role} dbname=postgres user=canary'\n{where} = {value}\n"
    )
    for command in ("cache-stampede", "pg-locks"):
        ran = silent_about(diag(command, "--config", str(file), "-f", "json"))
        assert (ran.returncode, ran.stderr) == (69, "")
        assert '"rung":"auth"' in ran.stdout
    shown = silent_about(diag("config", "show", "--config", str(file)))
    assert shown.returncode == 0


def test_a_password_in_libpqs_own_variable_is_not_echoed(role):
    environment = {
        "PGPASSWORD": LEFT,
        "PGHOST": "127.0.0.1",
        "PGPORT": str(role),
        "PGUSER": "canary",
        "PGDATABASE": "postgres",
    }
    ran = silent_about(diag("pg-locks", environment=environment))
    assert (ran.returncode, ran.stderr) == (69, "")


@pytest.mark.parametrize(
    "words",
    [
        ("pg-locks", f"host=h password={LEFT}"),
        ("pg-locks", f"host=h password='it\\'s {LEFT}'"),
        ("cache-stampede", f"redis://:{LEFT}@h"),
        ("cache-stampede", f"--redis-ulr=redis://:{LEFT}@h"),
        ("cache-stampede", "--only", f"redis://:{LEFT}@h"),
        ("cache-stampede", "--limit", f"redis://u:{LEFT}@h"),
        ("cache-stampede", "--format", f"redis://u:{LEFT}@h"),
        (f"redis://u:{LEFT}@h",),
    ],
)
def test_a_password_in_the_wrong_place_is_not_quoted_back(words):
    ran = silent_about(diag(*words))
    assert ran.returncode == 64


def test_an_address_without_a_password_earns_no_warning(redis_server):
    ran = diag("cache-stampede", "--redis-url", redis_server.url)
    assert ran.stderr == ""
