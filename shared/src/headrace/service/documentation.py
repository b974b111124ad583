"""docs/configuration.md, written from the settings themselves: `python -m headrace.service.documentation FILE`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from headrace.service.group import Group
from headrace.service.ingress_groups import SourceSettings
from headrace.service.loading import group_models, variable_name

_INTRODUCTION = """\
# Configuration

Made from the settings themselves by `python -m headrace.service.documentation docs/configuration.md`; a test fails
when it is out of date.

Every program reads the same settings and uses the groups that concern it. They come from, each above the one before:

1. the defaults below;
2. a TOML file, named by `--config FILE` or by `HEADRACE_CONFIG`;
3. the environment: setting `name` of `group` is `HEADRACE_<GROUP>__<NAME>`, for example `HEADRACE_EDGE__PORT=8088`. An
   empty variable is not set. Lists are JSON or have commas between their parts; tables are JSON objects;
4. the command line of `headrace up`.

A name that does not exist is an error, in the file and in the environment, as is a value out of range. All problems are
told at once, one sentence each, with exit code 2, before anything has started. `--show-config` prints the settings in
force as a file, secrets as `***`.

```toml
[log]
level = "debug"

[registry]
url = "redis://localhost:6379/0"

[edge]
host = "0.0.0.0"

[ingress.sources]
gate = "rtsp://user:password@10.0.0.5/main"

[ingress.sources."site7/yard"]
uri = "rtsp://10.0.0.6/main"
transport = "udp"
```

Other variables: `HEADRACE_TOKEN` is the token that `headrace streams` and `headrace nodes` send, `HEADRACE_API` the
address they ask. What Kubernetes sets for services (`HEADRACE_EDGE_SERVICE_HOST` and the like) is ignored.
"""


def document() -> str:
    """Return the whole page."""
    groups = group_models().items()
    parts = [_INTRODUCTION, *(_section(name, model) for name, model in groups), _source_section()]
    return "\n".join(parts)


def _section(name: str, model: type[Group]) -> str:
    lines = [f"## `[{name}]`", "", _sentence(model), "", "| setting | environment | default | unit | meaning |"]
    lines.append("|---|---|---|---|---|")
    for field, info in model.model_fields.items():
        cells = (f"`{field}`", f"`{variable_name(name, field)}`", _default(info), _unit(info), _meaning(info))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _source_section() -> str:
    lines = ["## `[ingress.sources.<stream>]`", "", _sentence(SourceSettings), ""]
    lines += ["| setting | default | meaning |", "|---|---|---|"]
    for field, info in SourceSettings.model_fields.items():
        lines.append(f"| `{field}` | {_default(info)} | {_meaning(info)} |")
    return "\n".join([*lines, ""])


def _sentence(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().splitlines()[0]


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "needed"
    value: Any = info.get_default(call_default_factory=True)
    match value:
        case None | "" | [] | {}:
            return "–"
        case SecretStr():
            return "–"
        case int() if value >= 1024 * 1024 and value % (1024 * 1024) == 0:
            return f"`{value}` ({value // (1024 * 1024)} MiB)"
    return f"`{json.dumps(value)}`"


def _unit(info: FieldInfo) -> str:
    extra = info.json_schema_extra
    return str(extra.get("unit") or "") if isinstance(extra, dict) else ""


def _meaning(info: FieldInfo) -> str:
    limits = _limits(info)
    return (info.description or "").replace("|", "\\|") + (f" {limits}." if limits else "")


def _limits(info: FieldInfo) -> str:
    """Return the range of a number in words, as far as it has one that matters."""
    found = {
        name: getattr(part, name) for part in info.metadata for name in ("gt", "ge", "lt", "le") if hasattr(part, name)
    }
    words = {"gt": "more than", "ge": "at least", "lt": "less than", "le": "at most"}
    text = ", ".join(f"{words[name]} {value:,}" for name, value in found.items())
    return text[:1].upper() + text[1:]


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(document(), encoding="utf-8")
