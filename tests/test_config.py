"""Where each setting comes from, what is refused, and that no password is ever shown."""

from __future__ import annotations

import os
import tomllib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diag import addresses, config, places, redaction
from diag.config import Config, KafkaTarget, PostgresTarget, RedisTarget
from diag.errors import ConfigError, ExitCode

KINDS = {  # the flag's kind: own variable, ecosystem variable, default address
    "kafka": ("DIAG_BOOTSTRAP_SERVERS", "KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9092"),
    "postgres": ("DIAG_DSN", "DATABASE_URL", "libpq defaults"),
    "redis": ("DIAG_REDIS_URL", "REDIS_URL", "redis://127.0.0.1:6379/0"),
    "prometheus": ("DIAG_PROMETHEUS_URL", "PROMETHEUS_URL", None),
    "loki": ("DIAG_LOKI_URL", "LOKI_ADDR", None),
    "jaeger": ("DIAG_JAEGER_URL", "JAEGER_URL", None),
}
FIELDS = {"kafka": "bootstrap_servers", "postgres": "dsn"}
CANARY = "Zq9canary"
SAMPLE = (places.templates() / "config.sample.toml").read_text("utf-8")


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Nobody's own configuration is read."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "own"))


@pytest.fixture
def written(tmp_path):
    """Write a configuration file."""

    def write(text, name="diag.toml"):
        file = tmp_path / name
        file.write_text(text)
        return file

    return write


def shown(settings, name):
    return next(((one.value, one.source) for one in settings.shown if one.name.partition(" ")[0] == name), None)


@pytest.mark.parametrize("kind", KINDS)
def test_flag_then_own_variable_then_context_then_ecosystem_then_default(kind, written):
    own, ecosystem, default = KINDS[kind]
    file = written(f'[[contexts.default.{kind}]]\n{FIELDS.get(kind, "url")} = "in-file:1"\n')
    flags, environment = {kind: "in-flag:1"}, {own: "in-own:1", ecosystem: "in-eco:1"}
    flag = f"flag --{config.FLAGS[kind]}"
    assert shown(config.settle(flags, environment, file=file), kind) == ("in-flag:1", flag)
    assert shown(config.settle({}, environment, file=file), kind) == ("in-own:1", f"variable {own}")
    only_eco = {ecosystem: "in-eco:1"}
    assert shown(config.settle({}, only_eco, file=file), kind) == ("in-file:1", "context default")
    assert shown(config.settle({}, only_eco), kind) == ("in-eco:1", f"variable {ecosystem}")
    assert shown(config.settle({}, {}), kind) == ((default, "default") if default else None)
    assert shown(config.settle({}, {own: "", ecosystem: ""}), kind) == ((default, "default") if default else None)


def test_libpq_variables_make_a_target_of_their_own():
    assert shown(config.settle({}, {"PGHOST": "db-1"}), "postgres") == ("libpq defaults", "variables PG*")


def test_a_flag_replaces_the_address_and_keeps_the_rest_of_the_context(written):
    file = written('[[contexts.default.redis]]\nurl = "redis://a"\nusername = "oncall"\npassword_file = "/p"\n')
    (target,) = config.settle({"redis": "redis://b"}, {}, file=file).context.redis
    assert (target.url, target.username, target.password_file) == ("redis://b", "oncall", "/p")


def test_context_by_flag_then_variable_then_the_files_default(written):
    file = written('default_context = "a"\n[contexts.a]\n[contexts.b]\n[contexts.c]\n')
    by = [({"DIAG_CONTEXT": "b"}, "c"), ({"DIAG_CONTEXT": "b"}, ""), ({}, "")]
    chosen = [config.settle({}, environment, file=file, context=flag) for environment, flag in by]
    assert [shown(one, "context") for one in chosen] == [
        ("c", "flag --context"),
        ("b", "variable DIAG_CONTEXT"),
        ("a", f"file {file}"),
    ]


def test_the_file_by_flag_then_variable_then_the_own_one(written, tmp_path):
    by_flag, by_variable = written("", "flag.toml"), written("", "variable.toml")
    own = tmp_path / "own" / "diag" / "config.toml"
    assert config.settle({}, {}).file is None
    own.parent.mkdir(parents=True)
    own.write_text("")
    environment = {"DIAG_CONFIG": str(by_variable)}
    assert config.settle({}, environment, file=by_flag).file == by_flag
    assert config.settle({}, environment).file == by_variable
    assert config.settle({}, {}).file == own


def test_a_home_that_cannot_be_looked_into_is_as_good_as_none(monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", "/" + "a" * 300)
    assert config.settle({}, {}).file is None


@pytest.mark.parametrize(
    ("text", "environment", "context", "names"),
    [
        ("[contexts.prod]", {}, "staging", ["'staging'", "flag --context", "prod"]),
        ("[contexts.prod]", {"DIAG_CONTEXT": "staging"}, "", ["'staging'", "DIAG_CONTEXT", "prod"]),
        ("[contexts.prod]", {}, "", ["'default'", "prod"]),
        ('default_context = "prod"', {}, "", ["'prod'", "none"]),
        (None, {"DIAG_CONTEXT": "prod"}, "", ["'prod'", "DIAG_CONTEXT", "none"]),  # never localhost under that name
        (None, {}, "prod", ["'prod'", "none"]),
    ],
)
def test_a_context_that_is_not_there_is_refused_by_name(text, environment, context, names, written):
    with pytest.raises(ConfigError) as refused:
        config.settle({}, environment, file=written(text) if text else None, context=context)
    assert refused.value.exit_code == ExitCode.USAGE
    assert all(name in refused.value.message for name in names), refused.value.message
    assert "\n" not in refused.value.message


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("[contexts.prod", ["not TOML", "end of document"]),
        ("a = 1\nb = = 2", ["not TOML", "line 2"]),
        ("defualt_context = 'x'", ["defualt_context"]),
        ("[contexts.prod]\nrequire_tsl = true", ["context prod", "require_tsl"]),
        ("[contexts.a]\n[[contexts.prod.redis]]\nurll = 'x'", ["context prod", "urll", "redis[0]"]),
        ("[[contexts.prod.redis]]\ncluster = 'yes'", ["context prod", "`bool`", "redis[0].cluster"]),
        ("[contexts.prod]\nredis = 'redis://x'", ["context prod", "redis"]),
        ("[contexts]\nprod = 5", ["context prod", "`object`"]),
        ("contexts = 5", ["$.contexts"]),
        ("[contexts.prod]\nmask_patterns = ['(']", ["context prod", "mask_patterns", "'('"]),
        (f"[[contexts.prod.kafka]]\npassword = 5\nusername = '{CANARY}'", ["context prod", "kafka[0].password"]),
        ("x = " + "[" * 5_000, ["not TOML"]),
    ],
)
def test_a_file_that_cannot_be_used_names_file_and_place_in_one_line(text, names, written):
    file = written(text)
    with pytest.raises(ConfigError) as refused:
        config.read(file)
    message = refused.value.message
    assert refused.value.exit_code == ExitCode.USAGE
    assert message.isprintable()
    assert CANARY not in message
    assert all(name in message for name in [str(file), *names]), message


def test_files_that_are_none_are_refused(tmp_path):
    binary = tmp_path / "binary"
    binary.write_bytes(b"a = '\xff'")
    for file in (tmp_path / "missing", tmp_path, binary, tmp_path / ("a" * 300)):
        with pytest.raises(ConfigError) as refused:
            config.read(file)
        assert str(file) in refused.value.message


def test_the_sample_reads_back_and_uses_every_kind_it_names(written):
    read = config.read(written(SAMPLE))
    prod = read.contexts["prod"]
    assert read.default_context == "prod"
    assert prod.kafka[0].sasl_mechanism == "SCRAM-SHA-512"
    assert prod.mask_patterns == (r"\b\d{16}\b",)
    assert prod.limits["pg-locks/lock-queue"]["waited_s"] == 5.0
    assert msgspec.convert(tomllib.loads(SAMPLE), Config) == read


ADDRESSES = [  # an address, the password as the server would get it, what is shown
    (f"redis://:{CANARY}@h:1/0", CANARY, "redis://:***@h:1/0"),
    (f"redis://u:{CANARY}@h", CANARY, "redis://u:***@h"),
    ("redis://u:a%40b%2Fc@h", "a@b/c", "redis://u:***@h"),
    (f"redis://u:{CANARY}/x@h:1", f"{CANARY}/x", "redis://u:***@h:1"),
    (f"redis://u:{CANARY}#x?y@h:1", f"{CANARY}#x?y", "redis://u:***@h:1"),
    (f"postgresql://me@corp.example:{CANARY}@h/db", CANARY, "postgresql://me@corp.example:***@h/db"),
    (f"postgresql://u:{CANARY}@h:5432,i:5433/db", CANARY, "postgresql://u:***@h:5432,i:5433/db"),
    (f"postgresql://h/db?password={CANARY}&sslmode=require", CANARY, "postgresql://h/db?password=***&sslmode=require"),
    ("postgresql://h/db?password=a+b%20c", "a+b c", "postgresql://h/db?password=***"),
    (f"postgresql://h/db?a=b&sslpassword={CANARY}", CANARY, "postgresql://h/db?a=b&sslpassword=***"),
    (f"host=h password={CANARY} user=u", CANARY, "host=h password=*** user=u"),
    (f"host=h PassWord = {CANARY}", CANARY, "host=h PassWord = ***"),
    (f"host=h sslpassword={CANARY} user=u", CANARY, "host=h sslpassword=*** user=u"),
    ("password='a b' host=h", "a b", "password=*** host=h"),
    ("password='it\\'s' host=h", "it's", "password=*** host=h"),
    ("password='ends in \\'' host=h", "ends in '", "password=*** host=h"),
    ("password='back\\\\slash' host=h", "back\\slash", "password=*** host=h"),
    ("password=a\\ b host=h", "a b", "password=*** host=h"),
    (f"password={CANARY}://x:y@z host=h", f"{CANARY}://x:y@z", "password=*** host=h"),
    (f"password='{CANARY} and no end", f"{CANARY} and no end", "password=***"),
    (f"password={CANARY} unquoted words host=h", f"{CANARY} unquoted words", "password=*** host=h"),
    (f"u:{CANARY}@h:6379", CANARY, "u:***@h:6379"),
    (f"redis:/u:{CANARY}@h", CANARY, "redis:/u:***@h"),
]


@pytest.mark.parametrize(("address", "password", "public"), ADDRESSES)
def test_a_password_is_found_and_masked_well_formed_or_not(address, password, public):
    assert password in addresses.passwords_in(address)
    assert addresses.without_password(address) == public
    assert addresses.without_password(public) == public
    for target in (RedisTarget(url=address), PostgresTarget(dsn=address), KafkaTarget(bootstrap_servers=address)):
        assert target.address == public
        assert password in config.known_secrets(target)
        assert CANARY not in " ".join(config.public_words(target))


@pytest.mark.parametrize(
    "address",
    [
        "",
        "redis://h:6379/0",
        "redis://user@h:6379/0",
        "rediss://[::1]:6379",
        "postgresql:///db?host=/tmp",
        "postgresql://user@h:5432/db?application_name=a@b",
        "host=h user=u dbname=d",
        "host=h password='' user=u",
        "k1:9092,k2:9092",
        "https://prometheus.example/prefix",
    ],
)
def test_an_address_without_a_password_has_none_to_warn_of(address):
    assert addresses.passwords_in(address) == ()
    assert addresses.without_password(address).replace("***", "''") == address


@given(st.text(st.characters(exclude_categories=("C", "Z")), min_size=1), st.sampled_from(["redis", "postgresql"]))
def test_no_password_in_a_url_is_shown_escaped_or_not(word, scheme):
    secret = f"{CANARY}{word}{CANARY}"
    assert CANARY not in addresses.without_password(f"{scheme}://user:{secret}@host:1/0")
    assert secret in addresses.passwords_in(f"{scheme}://user:{secret}@host:1/0")


@given(st.text(st.characters(exclude_categories=("Cs",)), min_size=1))
def test_no_password_in_a_connection_string_is_shown_however_it_is_quoted(word):
    secret = f"{CANARY}{word}{CANARY}"
    quoted = secret.replace("\\", "\\\\").replace("'", "\\'")
    address = f"host=h password='{quoted}' user=u"
    assert addresses.without_password(address) == "host=h password=*** user=u"
    assert secret in addresses.passwords_in(address)


@given(st.text())
def test_no_address_stops_the_search_for_passwords(address):
    addresses.without_password(address)
    addresses.passwords_in(address)


@pytest.mark.parametrize("kind", ["kafka", "postgres", "redis"])
def test_a_password_that_is_the_name_of_a_kind_does_not_silence_the_report(kind):
    target = PostgresTarget(dsn=f"host=h user=app password={kind}")
    hidden = redaction.masks(config.known_secrets(target), public=config.public_words(target))
    assert redaction.refuse_secrets(f"{kind} 17 at h", hidden)


def test_a_password_file_gives_its_line_without_the_end(written):
    file = written("s3cret with spaces \r\n", "password")
    assert config.password(RedisTarget(password_file=str(file))) == "s3cret with spaces "


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_password_file_that_cannot_be_read_is_named_by_its_target(content, tmp_path):
    file = tmp_path / "password"
    if content:
        file.write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        config.password(RedisTarget(name="sessions", password_file=str(file)))
    assert "'sessions'" in refused.value.message
    assert refused.value.hint.isprintable()


def test_a_password_command_is_an_argv_and_nothing_of_it_is_said_when_it_fails():
    spoken = RedisTarget(password_command=("printf", "%s\n", "$HOME `x`"))
    assert config.password(spoken) == "$HOME `x`"
    for command in (("sh", "-c", f"echo {CANARY}; echo {CANARY} >&2; exit 1"), ("/nonexistent/program", CANARY)):
        with pytest.raises(ConfigError) as refused:
            config.password(RedisTarget(password_command=command))
        assert CANARY not in refused.value.message + refused.value.hint


def test_only_a_file_of_ones_own_may_start_programs(written):
    file = written('[[contexts.default.redis]]\npassword_command = ["true"]\n')
    config.read(file)
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(file, 65_534, -1)
    with pytest.raises(ConfigError) as refused:
        config.read(file)
    assert "password_command" in refused.value.message
    harmless = written('[[contexts.default.redis]]\npassword_file = "/p"\n', "other.toml")
    os.chown(harmless, 65_534, -1)
    config.read(harmless)


def test_kinds_for_which_only_a_default_stands_are_told(written):
    witnesses = {"prometheus", "loki", "jaeger"}
    assert set(config.settle({}, {}).unnamed) == {"kafka", "postgres", "redis"} | witnesses
    assert "prometheus" not in config.settle({"prometheus": "http://h"}, {}).unnamed
    assert "postgres" not in config.settle({}, {"PGHOST": "db-1"}).unnamed
    file = written('[[contexts.default.redis]]\nurl = "redis://a"\n')
    assert set(config.settle({}, {}, file=file).unnamed) == {"kafka", "postgres"} | witnesses
