"""What the settings group `relay` makes of trust."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from headrace.relay.credentials import Credential, cluster_credential
from headrace.service.groups import RelaySettings
from headrace.session.options import RelayOptions
from headrace.session.trust import Trust

FILE = """
own = "site7"
[keys.site7]
secret = "0123456789abcdef"
offer = ["site7/*"]
"""


def trust(group: RelaySettings) -> Trust:
    return Trust(RelayOptions.of(group), "node-1", "ingress", "headrace test")


def test_a_cluster_secret_is_proved_and_believed() -> None:
    """And believed open only where the settings say so."""
    group = RelaySettings(secret=SecretStr("correct horse"))
    known = trust(group).identity
    assert (known.own, dict(known.accepted)) == (
        cluster_credential("correct horse"),
        {"cluster": cluster_credential("correct horse")},
    )
    assert not RelayOptions.of(group).allow_open
    assert RelayOptions.of(RelaySettings(allow_open=True)).allow_open


def test_a_file_takes_the_place_of_the_secret(tmp_path: Path) -> None:
    """The cluster's key is not believed beside it."""
    file = tmp_path / "keys.toml"
    file.write_text(FILE)
    known = trust(RelaySettings(secret=SecretStr("correct horse"), credentials_file=file)).identity
    site = Credential("site7", b"0123456789abcdef", offer=("site7/*",))
    assert (known.own, dict(known.accepted)) == (site, {"site7": site})


def test_what_this_node_may_not_publish_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And again when the file was read again."""
    file = tmp_path / "keys.toml"
    file.write_text(FILE)
    known = trust(RelaySettings(credentials_file=file))
    assert known.covers("site7/gate")
    assert not known.covers("site8/gate")
    assert [known.is_news("site8/gate") for _ in range(2)] == [True, False]
    file.write_text(FILE.replace("site7/*", "site9/*"))
    assert known.refresh()
    assert known.is_news("site8/gate")
    assert capsys.readouterr().out.count("stream_forbidden") == 2
