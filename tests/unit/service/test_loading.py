"""Settings from file, environment and command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from headrace.errors import ConfigurationError
from headrace.service.settings import Settings, load_settings


def problems(text: str | None, tmp_path: Path, **environ: str) -> list[str]:
    """Return the sentences about a file with this text and these variables; the file is called `it`."""
    path = None
    if text is not None:
        path = tmp_path / "headrace.toml"
        path.write_text(text)
    with pytest.raises(ConfigurationError) as raised:
        load_settings(path, environ)
    return str(raised.value).replace(str(path), "it").splitlines()


def test_defaults_listen_on_loopback_only() -> None:
    """Nothing configured means: this machine alone, with the documented ports and the registry in memory."""
    settings = load_settings(None, {})
    hosts = {settings.ingress.host, settings.intermediate.host, settings.edge.host, settings.control_api.host}
    assert hosts == {"127.0.0.1"}
    assert (settings.edge.port, settings.edge.fmp4_port, settings.ingress.port) == (8088, 8410, 8080)
    assert settings.registry.url == "memory:"


def test_command_line_wins_over_environment_over_file(tmp_path: Path) -> None:
    """Each layer hides the one below, setting by setting."""
    path = tmp_path / "headrace.toml"
    path.write_text('[edge]\nport = 1\nfmp4_port = 2\nviewers_max = 3\n[log]\nlevel = "debug"\n')
    settings = load_settings(
        path, {"HEADRACE_EDGE__PORT": "11", "HEADRACE_EDGE__FMP4_PORT": "12"}, {"edge": {"port": 21}}
    )
    assert (settings.edge.port, settings.edge.fmp4_port, settings.edge.viewers_max) == (21, 12, 3)
    assert settings.log.level == "debug"


def test_file_named_by_environment(tmp_path: Path) -> None:
    """HEADRACE_CONFIG names the file where no argument does."""
    path = tmp_path / "headrace.toml"
    path.write_text("[edge]\nport = 7\n")
    assert load_settings(None, {"HEADRACE_CONFIG": str(path)}).edge.port == 7


def test_sources_of_command_line_are_added(tmp_path: Path) -> None:
    """A feed on the command line joins those of the file, and replaces the one of the same name."""
    path = tmp_path / "headrace.toml"
    path.write_text('[ingress.sources]\ncam1 = "rtsp://a/1"\ncam2 = "rtsp://a/2"\n')
    extra = {"ingress": {"sources": {"cam2": {"uri": "rtsp://b/2"}, "demo": {"uri": "test:"}}}}
    sources = load_settings(path, {}, extra).ingress.sources
    assert {name: source.uri.get_secret_value() for name, source in sources.items()} == {
        "cam1": "rtsp://a/1",
        "cam2": "rtsp://b/2",
        "demo": "test:",
    }


@pytest.mark.parametrize("port", ["99999", "notaport", "0", "-1"])
def test_ports_that_cannot_be_are_refused(tmp_path: Path, port: str) -> None:
    """In every URL of a node, before anything dials it."""
    text = f'[node]\nrelay_url = "ws://h:{port}/relay"\n[relay]\nupstreams = ["ws://h:{port}/relay"]\n'
    found = problems(text, tmp_path)
    assert len(found) == 2
    assert all("port of a URL" in sentence for sentence in found)


def test_sources_from_environment_are_json() -> None:
    """A table in the environment is a JSON object; a bare URI stands for a source."""
    text = '{"site7/gate": "rtsp://a/1", "cam2": {"uri": "rtsp://a/2", "transport": "udp", "loop": false}}'
    sources = load_settings(None, {"HEADRACE_INGRESS__SOURCES": text}).ingress.sources
    assert sources["cam2"].transport == "udp"
    assert not sources["cam2"].loop
    assert sources["site7/gate"].transport == "tcp"


@pytest.mark.parametrize("text", ['["first-token","second-token"]', "first-token, second-token"])
def test_lists_from_environment(text: str) -> None:
    """A list is JSON, or parts with commas between them."""
    tokens = load_settings(None, {"HEADRACE_CONTROL_API__TOKENS": text}).control_api.tokens
    assert [token.get_secret_value() for token in tokens] == ["first-token", "second-token"]


def test_empty_variable_is_not_set() -> None:
    """Compose and shells pass empty variables for what nobody chose: defaults stay."""
    assert load_settings(None, {"HEADRACE_EDGE__PORT": ""}).edge.port == 8088


def test_variables_of_others_are_ignored() -> None:
    """What Kubernetes sets for services called headrace-…, and what the command line reads, are no settings."""
    names = ["HEADRACE_EDGE_SERVICE_HOST", "HEADRACE_EDGE_PORT", "HEADRACE_CONTROL_API_PORT_8081_TCP_ADDR"]
    assert load_settings(None, dict.fromkeys([*names, "HEADRACE_TOKEN", "HOME"], "x")) == Settings()


def test_unknown_variable_suggests_the_nearest(tmp_path: Path) -> None:
    """A misspelt variable is an error that knows what was meant."""
    assert problems(None, tmp_path, HEADRACE_EDGE__PROT="1", HEADRACE_NONSENSE_AT_ALL="1") == [
        "HEADRACE_EDGE__PROT: there is no such setting; did you mean HEADRACE_EDGE__PORT?",
        "HEADRACE_NONSENSE_AT_ALL: there is no such setting",
    ]


def test_every_problem_is_one_sentence_that_names_its_place(tmp_path: Path) -> None:
    """All problems are told at once: file or variable, setting, what was found, what is allowed."""
    text = """
[edge]
prot = 1
port = "eighty"
host = 5
[packager]
chunk_seconds = 3
[ring]
seconds = true
[ingress.sources]
"a b" = "rtsp://a/1"
cam1 = { uri = "rtsp://a/1", transport = "smoke" }
cam2 = { transport = "tcp" }
[egde]
"""
    assert sorted(problems(text, tmp_path, HEADRACE_INTERMEDIATE__PORT="70000", HEADRACE_LOG__LEVEL="loud")) == sorted(
        [
            "it: edge.prot: there is no such setting; did you mean edge.port?",
            "it: edge.port: a whole number is expected, not 'eighty'",
            "it: edge.host: text is expected, not 5",
            "it: packager: chunk_seconds (3.0) must not be longer than part_seconds (0.5)",
            "it: ring.seconds: true and false are not allowed",
            "it: ingress.sources: stream name 'a b': use letters, digits and _ . ~ - in parts joined by /, each "
            "beginning with a letter, a digit or _",
            "it: ingress.sources.cam1.transport: 'tcp' or 'udp' is expected, not 'smoke'",
            "it: ingress.sources.cam2.uri: is missing",
            "it: egde: there is no such setting; did you mean edge?",
            "HEADRACE_INTERMEDIATE__PORT: at most 65535 is expected, not '70000'",
            "HEADRACE_LOG__LEVEL: 'debug', 'info', 'warning' or 'error' is expected, not 'loud'",
        ]
    )


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"[edge\n", "it: is not valid TOML: Expected ']' at the end of a table declaration (at line 1, column 6)"),
        (b"a = '\xff'", "it: is not UTF-8 text (byte 5)"),
        (b"edge = 5", "it: edge: a table is expected, not 5"),
    ],
)
def test_malformed_file(content: bytes, sentence: str, tmp_path: Path) -> None:
    """A file that cannot be read as settings is told with the place where reading ended."""
    path = tmp_path / "headrace.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError) as raised:
        load_settings(path, {})
    assert str(raised.value).replace(str(path), "it") == sentence


def test_missing_file(tmp_path: Path) -> None:
    """A file that is not there is told by name."""
    with pytest.raises(ConfigurationError, match=r"nowhere\.toml: cannot be read: No such file or directory"):
        load_settings(tmp_path / "nowhere.toml", {})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HEADRACE_INGRESS__SOURCES", '{"cam1": {"uri": "rtsp://u:hush-hush@a/1", "transport": "x"}'),
        ("HEADRACE_INGRESS__SOURCES", '{"cam1": {"uri": ["rtsp://u:hush-hush@a/1"]}}'),
        ("HEADRACE_INGRESS__SOURCES", '{"cam1": {"uri": "rtsp://u:hush-hush@a/1 2"}}'),
        ("HEADRACE_REGISTRY__URL", "http://u:hush-hush@a/1"),
        ("HEADRACE_NODE__RELAY_URL", "ws://u:hush-hush@a/relay"),
        ("HEADRACE_CONTROL_API__TOKENS", '[["hush-hush"]]'),
        ("HEADRACE_EDGE__PORT", "http://u:hush-hush@a/1"),
    ],
)
def test_no_secret_in_a_sentence(variable: str, value: str, tmp_path: Path) -> None:
    """Whatever is wrong with a value that holds a secret, the secret is not repeated."""
    sentences = "\n".join(problems(None, tmp_path, **{variable: value}))
    assert variable in sentences
    assert "hush" not in sentences


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
NAMES = st.sampled_from(["port", "sources", "secret", "uri", "tokens", "y", "a b"])
VALUES = st.one_of(
    LEAVES, st.lists(LEAVES, max_size=2), st.dictionaries(NAMES, LEAVES | st.dictionaries(NAMES, LEAVES))
)
GROUPS = st.sampled_from(["edge", "relay", "ingress", "log", "control_api", "x"])


@hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(GROUPS, LEAVES | st.dictionaries(NAMES, VALUES, max_size=3), max_size=3))
def test_any_document_is_read_or_refused(document: dict[str, Any]) -> None:
    """Settings of any shape end as settings or as ConfigurationError with sentences, nothing else."""
    try:
        sentences = repr(load_settings(None, {}, document))
    except ConfigurationError as error:
        sentences = str(error)
    assert all(line.strip() for line in sentences.splitlines())
    assert sentences
