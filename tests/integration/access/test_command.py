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
    assert (await headrace(api, "revoke", output.strip()))[0] == 0
    assert (await headrace(api, "revoke", "another.id"))[0] == 0
    code, output, _ = await headrace(api, "revoked", "--json")
    until = {one["id"]: one["until"] for one in json.loads(output)["revoked"]}
    assert (code, set(until)) == (0, {token.id, "another.id"})
    assert 0 <= until[token.id] - token.expires <= 100


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


async def test_policies_are_ordered_shown_and_deleted(api: str) -> None:
    """The longest order about a stream is shown; without one, and without the right, the exit code is 1."""
    run = {"HEADRACE_API": api, "HEADRACE_TOKEN": ADMIN}
    assert await command(run, "policy", "list") == (0, "no policies: the configuration of edges decides\n", "")
    for pattern, policy in (("site7/*", "token"), ("site7/lobby", "public")):
        assert await command(run, "policy", "set", pattern, policy) == (0, "", "")
    code, output, _ = await command(run, "policy", "list")
    assert (code, output.split()) == (0, ["streams", "policy", "site7/*", "token", "site7/lobby", "public"])
    assert await command(run, "policy", "show", "site7/gate") == (0, "token (site7/*)\n", "")
    code, output, _ = await command(run, "policy", "show", "site7/lobby", "--json")
    assert (code, json.loads(output)) == (0, {"pattern": "site7/lobby", "policy": "public"})
    code, _, errors = await command(run, "policy", "show", "cam1")
    assert (code, "no policy was ordered for cam1" in errors) == (1, True)
    assert (await command(run, "policy", "show", "../x"))[0] == 2
    assert (await command(run, "policy", "set", "cam1", "nonsense"))[0] == 2
    code, _, errors = await command({**run, "HEADRACE_TOKEN": "only-reads"}, "policy", "delete", "site7/*")
    assert (code, "admin is needed" in errors) == (1, True)
    assert await command(run, "policy", "delete", "site7/*") == (0, "", "")
    assert (await command(run, "policy", "delete", "site7/*"))[0] == 1
    code, output, _ = await command(run, "policy", "list", "--json")
    assert json.loads(output) == {"policies": [{"pattern": "site7/lobby", "policy": "public"}]}


async def test_a_licence_from_issuing_to_deleting(api: str) -> None:
    """Its key is printed alone, for use in a script; whether it holds is the exit code of verify."""
    run = {"HEADRACE_API": api, "HEADRACE_TOKEN": ADMIN}
    assert await command(run, "licence", "list") == (0, "no licences\n", "")
    code, output, errors = await command(run, "licence", "issue", "--kind", "test")
    assert (code, errors) == (0, "")
    key = output.strip()
    assert (await command(run, "licence", "issue", "--kind", "test", "--days", "3"))[0] == 1
    code, output, _ = await command(run, "licence", "verify", key)
    assert (code, output) == (1, "it does not hold: Not activated\n")
    code, output, _ = await command(run, "licence", "assign", key, "alice")
    assert (code, "alice" in output) == (0, True)
    code, output, _ = await command(run, "licence", "activate", key, "a.example", "--json")
    assert (code, json.loads(output)["domain"]) == (0, "a.example")
    assert (await command(run, "licence", "activate", key, "b.example"))[0] == 1
    code, output, _ = await command(run, "licence", "verify", key, "--user", "alice", "--domain", "www.a.example")
    assert (code, output.startswith("it holds until ")) == (0, True)
    code, output, _ = await command(run, "licence", "verify", key, "--domain", "b.example", "--json")
    assert (code, json.loads(output)["reason"]) == (1, "Invalid Domain (credentials)")
    code, output, _ = await command(run, "licence", "list", "--user", "alice", "--json")
    assert [one["key"] for one in json.loads(output)["licences"]] == [key]
    code, output, _ = await command(run, "licence", "show", key)
    assert (code, "a.example" in output, "test" in output) == (0, True, True)
    assert (await command(run, "licence", "deactivate", key))[0] == 0
    assert await command(run, "licence", "delete", key) == (0, "", "")
    code, _, errors = await command(run, "licence", "show", key)
    assert (code, "There is no such licence" in errors) == (1, True)


async def test_the_shell_completes_commands_and_names(api: str) -> None:
    """Bash gets commands, options and names from the API, as the script of --show-completion asks for them."""

    async def complete(line: str, token: str = ADMIN) -> list[str]:
        words = line.split(" ")
        asked = {"_HEADRACE_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
        code, output, errors = await command({**asked, "HEADRACE_API": api, "HEADRACE_TOKEN": token})
        assert (code, errors) == (0, "")
        return output.split()

    assert {"up", "streams", "viewers", "kick", "token", "policy", "licence"} <= set(await complete("headrace "))
    assert await complete("headrace token re") == ["revoke", "revoked"]
    assert "--counts" in await complete("headrace viewers --")
    assert (await command({"HEADRACE_API": api, "HEADRACE_TOKEN": ADMIN}, "policy", "set", "site7", "token"))[0] == 0
    assert await complete("headrace policy delete s") == ["site7"]
    pull = ("pull", "cam1", "ws://there.example", "--as", "far/cam1", "--wait", "0")
    assert (await command({"HEADRACE_API": api, "HEADRACE_TOKEN": ADMIN}, *pull))[0] == 1  # nobody carries it out
    assert await complete("headrace terminate f") == ["far/cam1"]
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
