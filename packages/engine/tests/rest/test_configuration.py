"""The configuration file: published keys, environment on top, every problem at once."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from headway.settings import Config, Loaded, load
from headway_wire.errors import Invalid, NotFound

REFERENCE = Path(__file__).parents[4] / "docs" / "reference" / "configuration.md"

PUBLISHED = """
listen_addr: 0.0.0.0:8080
websocket_addr: 0.0.0.0:8080
grpc_addr: 0.0.0.0:9090
kine:
  backend: sqlite
  sqlite_path: ./mirastack.db
plugins:
  dir: ./plugins
  health_check_interval: 30s
  external:
    - {name: old, addr: "10.0.0.1:9000"}
llm:
  default_provider: openai
oidc:
  allowed_providers: []
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "headway.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refused(tmp_path: Path, text: str, **environ: str) -> dict[str, tuple[str, int, str]]:
    """By key, the message, line and file of each problem."""
    with pytest.raises(Invalid) as caught:
        load(written(tmp_path, text), environ)
    assert caught.value.code == "configuration_invalid"
    return {problem.where: (problem.message, problem.line, problem.file) for problem in caught.value.problems}


def loaded(tmp_path: Path, text: str, **environ: str) -> Loaded:
    return load(written(tmp_path, text), environ)


def keys(shape: type[msgspec.Struct], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for field in msgspec.structs.fields(shape):
        inner = isinstance(field.type, type) and issubclass(field.type, msgspec.Struct)
        found |= keys(field.type, f"{prefix}{field.name}.") if inner else {prefix + field.name}
    return found


def test_the_reference_lists_every_key() -> None:
    documented = re.findall(r"^\| `([a-z_.]+)` \|", REFERENCE.read_text(), re.M)

    assert sorted(documented) == sorted(keys(Config))


def test_the_example_of_the_reference_is_valid(tmp_path: Path) -> None:
    example = re.search(r"```yaml\n(.*?)```", REFERENCE.read_text(), re.S)
    assert example is not None

    found = loaded(tmp_path, example[1], PLUGIN_TOKEN="secret")

    assert not found.warnings
    assert found.config.plugins.token == "secret"


def test_a_published_file_is_valid_and_its_store_is_used(tmp_path: Path) -> None:
    found = loaded(tmp_path, PUBLISHED)

    assert found.warnings == []
    assert found.config.sqlite_path == tmp_path / "mirastack.db"
    assert found.config.plugins.dir == str(tmp_path / "plugins")
    assert int(found.config.plugins.health_check_interval) == 30_000
    assert found.config.plugins.external[0].addr == "10.0.0.1:9000"


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "\n\n  # still nothing\n"])
def test_an_empty_file_means_all_defaults(tmp_path: Path, text: str) -> None:
    config = loaded(tmp_path, text).config

    assert (config.listen_addr.port, config.grpc_addr.port) == (8080, 9090)
    assert config.sqlite_path == tmp_path / "headway-data" / "headway.db"
    assert config.tenants.default_slug == "default"


def test_no_file_means_all_defaults_beside_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert load(None, {}).config.sqlite_path == tmp_path / "headway-data" / "headway.db"


def test_every_mistake_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    found = refused(
        tmp_path,
        """
lisen_addr: x
listen_addr: nowhere
kine: {backend: mariadb, foo: 1}
pools: {gpu: 0, cpu: some}
plugins:
  health_check_interval: soon
  external:
    - {name: a, adr: b}
runs: 7
store: {url: "${NOPE}"}
""",
        MIRASTACK_RUNS__ACTIVE_MAX="many",
    )

    assert {where: line for where, (_, line, _) in found.items() if line} == {
        "lisen_addr": 2,
        "listen_addr": 3,
        "kine.backend": 4,
        "kine.foo": 4,
        "pools.gpu": 5,
        "pools.cpu": 5,
        "plugins.health_check_interval": 7,
        "plugins.external[0].adr": 9,
        "runs": 10,
        "store.url": 11,
    }
    assert "MariaDB" in found["kine.backend"][0]
    assert "NOPE" in found["store.url"][0]
    assert "plugins.external[0].addr" in found


@pytest.mark.parametrize(
    "text", ["[1, 2]", "just words", "a: [", "\tlisten_addr: x", "listen_addr: a:1\nlisten_addr: b:2", "\x00"]
)
def test_what_is_no_mapping_or_no_yaml_is_refused_in_words(tmp_path: Path, text: str) -> None:
    found = refused(tmp_path, text)

    assert found
    assert all(message for message, _, _ in found.values())


def test_a_file_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no configuration file .*nope\.yaml"):
        load(tmp_path / "nope.yaml", {})
    with pytest.raises(Invalid, match="cannot be read"):
        load(tmp_path, {})


def test_the_environment_overrides_every_key(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        PUBLISHED,
        MIRASTACK_LISTEN_ADDR=":18080",
        MIRASTACK_KINE__SQLITE_PATH="/tmp/other.db",
        MIRASTACK_POOLS__GPU="2",
        MIRASTACK_PLUGINS__EXTERNAL='[{"name":"x","addr":"h:1"}]',
        MIRASTACK_RUNS__ACTIVE_MAX="5",
    ).config

    assert (config.listen_addr.host, config.listen_addr.port) == ("", 18080)
    assert config.sqlite_path == Path("/tmp/other.db")
    assert (config.pools, config.runs.active_max) == ({"gpu": 2}, 5)
    assert config.plugins.external[0].name == "x"


def test_variables_of_plugins_are_left_alone_and_misspelt_ones_of_ours_are_told(tmp_path: Path) -> None:
    loaded(tmp_path, "", MIRASTACK_ENGINE_ADDR="x", MIRASTACK_PLUGIN_NAME="y", MIRASTACK_OTEL_ENABLED="true")

    found = refused(tmp_path, "", MIRASTACK_KINE__SQLITEPATH="x", MIRASTACK_LISTEN_ADDR__PORT="1")

    assert found["kine.sqlitepath"][2] == "MIRASTACK_KINE__SQLITEPATH"
    assert any("listen_addr" in where or "listen_addr" in text for where, (text, _, _) in found.items())


def test_variables_are_expanded_in_values_only_and_can_be_escaped(tmp_path: Path) -> None:
    config = loaded(tmp_path, 'plugins: {token: "a-${X}-$${X}-$X"}', X="${Y}").config

    assert config.plugins.token == "a-${Y}-${X}-$X"


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:runs.db", "runs.db"),
        ("sqlite:./a/runs.db", "a/runs.db"),
        ("sqlite:/var/runs.db", "/var/runs.db"),
        ("sqlite:///var/runs.db", "/var/runs.db"),
    ],
)
def test_a_store_is_named_by_an_url(tmp_path: Path, url: str, path: str) -> None:
    config = loaded(tmp_path, f"store: {{url: '{url}'}}").config

    assert config.sqlite_path == tmp_path / path
    assert config.postgres_url is None


def test_postgresql_is_named_by_an_url_and_other_stores_are_refused(tmp_path: Path) -> None:
    url = "postgresql://me@localhost/headway"

    config = loaded(tmp_path, f"store: {{url: '{url}'}}").config

    assert (config.postgres_url, config.sqlite_path) == (url, None)
    for wrong in ("mysql://x", "sqlite:", "runs.db"):
        assert "store.url" in refused(tmp_path, f"store: {{url: '{wrong}'}}")
    assert "store.url" in refused(tmp_path, f"store: {{url: '{url}'}}\nkine: {{sqlite_path: a.db}}")


def test_what_has_no_effect_is_a_warning_with_its_line(tmp_path: Path) -> None:
    text = """
websocket_addr: 0.0.0.0:8081
valkey: {addr: "localhost:6379"}
oidc: {allowed_providers: ["https://login.example.com"]}
kine: {mariadb_dsn: "x"}
"""

    found = {warning.where: warning.line for warning in loaded(tmp_path, text).warnings}

    assert found == {
        "websocket_addr": 2,
        "valkey.addr": 3,
        "oidc.allowed_providers": 4,
        "kine.mariadb_dsn": 5,
    }


@pytest.mark.parametrize("text", ["0.0.0.0", "host:", "host:99999", "host:port", "a b:1", ":-1"])
def test_an_address_is_a_host_and_a_port(tmp_path: Path, text: str) -> None:
    assert "host:port" in refused(tmp_path, f"listen_addr: '{text}'")["listen_addr"][0]


def test_a_blank_tenant_is_refused(tmp_path: Path) -> None:
    assert "tenants.default_slug" in refused(tmp_path, "tenants: {default_slug: ' '}")


def test_the_published_variables_of_the_runtime_say_how_many_messages_may_wait(tmp_path: Path) -> None:
    found = loaded(
        tmp_path,
        "mirrorneuron: {agent_messages_max: 5}\n",
        MN_MESSAGE_MAX_PENDING_PER_AGENT="7",
        MN_MESSAGE_MAX_PENDING_PER_JOB="70",
        MN_DEFAULT_MAX_AGENT_QUEUE_DEPTH="8",
        MN_DEFAULT_AGENT_QUEUE_HIGH_WATERMARK="6",
        MN_DEFAULT_AGENT_QUEUE_LOW_WATERMARK="3",
    ).config.mirrorneuron

    assert (found.agent_messages_max, found.job_messages_max) == (7, 70)
    assert (found.queue_depth, found.queue_high, found.queue_low) == (8, 6, 3)


def test_two_devices_of_one_name_are_refused(tmp_path: Path) -> None:
    text = "mirrorneuron: {devices: [{id: a}, {id: a, type: fpga}]}"

    assert "two devices are called a" in refused(tmp_path, text)["mirrorneuron.devices"][0]
