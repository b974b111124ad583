"""`headrace token` against a running Headrace."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator

import pytest

from headrace.access.tokens import secret_keys
from headrace.http.listener import HttpListener
from headrace.identifiers import NodeId
from headrace.service.groups import Settings
from headrace.service.runtime import Runtime
from headrace_control_api.app import build
from integration.access.rig import SECRET

ADMIN = "an-admin-token"


@pytest.fixture
async def api() -> AsyncIterator[str]:
    """The address of a control API of one process."""
    settings = Settings.model_validate(
        {"control_api": {"port": 0, "tokens": [ADMIN], "read_tokens": ["only-reads"]}, "access": {"secrets": [SECRET]}}
    )
    components = list(build(settings, Runtime(NodeId("api"), "control-api")))
    for component in components:
        await component.start()
    (listener,) = (component for component in components if isinstance(component, HttpListener))
    yield f"http://127.0.0.1:{listener.bound_port}"
    for component in reversed(components):
        await component.stop()


async def headrace(api: str, *arguments: str, token: str = ADMIN) -> tuple[int, str, str]:
    """Run the command and return its exit code and what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "headrace_standalone.cli", "token", *arguments),
        env={**os.environ, "HEADRACE_API": api, "HEADRACE_TOKEN": token},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


async def test_tokens_are_made_and_revoked(api: str) -> None:
    """The token is printed alone, for use in a script; revoking it lists it."""
    code, output, errors = await headrace(
        api, "make", "site7/*", "--for", "30m", "--viewers", "2", "--origin", "a.example"
    )
    assert code == 0, errors
    token = secret_keys([SECRET]).verify(output.strip())
    assert (token.streams, token.viewers_max, token.origins) == (("site7/*",), 2, ("a.example",))
    assert f"id {token.id}, until " in errors
    assert (await headrace(api, "revoke", token.id))[0] == 0
    code, output, _ = await headrace(api, "revoked", "--json")
    assert (code, [one["id"] for one in json.loads(output)["revoked"]]) == (0, [token.id])


async def test_what_is_wrong_is_said_in_a_sentence(api: str) -> None:
    """A wrong time is 2, a refusal 1, each with one sentence."""
    code, output, errors = await headrace(api, "make", "cam1", "--for", "soon")
    assert (code, output) == (2, "")
    assert "--for: a time such as 90s" in errors
    code, _, errors = await headrace(api, "make", "../cam1")
    assert code == 1
    assert "body.streams.0" in errors
    code, _, errors = await headrace(api, "revoke", "abc", token="only-reads")
    assert code == 1
    assert "This token allows read, and admin is needed" in errors


async def test_a_token_is_shown_without_asking_anybody(api: str) -> None:
    """What it says, times in words; nonsense is refused in a sentence."""
    _, made, _ = await headrace(api, "make", "cam1", "cam2", "--for", "1h", "--subject", "alice")
    code, output, _ = await headrace("http://127.0.0.1:1", "show", made.strip())
    assert code == 0
    assert "cam1, cam2" in output
    assert "alice" in output
    assert " UTC" in output
    code, _, errors = await headrace(api, "show", "nonsense")
    assert (code, errors.strip()) == (2, "headrace: TOKEN: this is no token")


async def test_viewers_are_listed_counted_and_sent_away(api: str) -> None:
    """Tables for people, JSON for programs, and a sentence for a viewer that is not there."""
    run = {"HEADRACE_API": api, "HEADRACE_TOKEN": ADMIN}
    assert await command(run, "viewers") == (0, "nobody watches\n", "")
    code, output, _ = await command(run, "viewers", "--json", "--stream", "cam1")
    assert (code, json.loads(output)) == (0, {"viewers": []})
    code, output, _ = await command(run, "viewers", "--counts")
    assert (code, output.split()) == (0, ["what", "name", "viewers", "cluster", "0"])
    code, _, errors = await command(run, "kick", "0" * 16)
    assert code == 1
    assert "No viewer 0000000000000000 watches now" in errors


async def test_the_shell_completes_commands_and_names(api: str) -> None:
    """Bash gets commands, options and names from the API, as the script of --show-completion asks for them."""

    async def complete(line: str, token: str = ADMIN) -> list[str]:
        words = line.split(" ")
        asked = {"_HEADRACE_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
        code, output, errors = await command({**asked, "HEADRACE_API": api, "HEADRACE_TOKEN": token})
        assert (code, errors) == (0, "")
        return output.split()

    assert {"up", "streams", "viewers", "kick", "token"} <= set(await complete("headrace "))
    assert await complete("headrace token re") == ["revoke", "revoked"]
    assert "--counts" in await complete("headrace viewers --")
    assert await complete("headrace drain a") == ["api"]
    assert await complete("headrace drain a", token="wrong") == []


async def command(variables: dict[str, str], *arguments: str) -> tuple[int, str, str]:
    """Run `headrace` and return its exit code and what it printed."""
    code = "import sys; sys.argv[0] = 'headrace'; from headrace_standalone.cli import main; main()"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", code, *arguments),
        env={**os.environ, **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()
