"""docs/api.md, written from the API itself: `python -m headrace_control_api.documentation FILE`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from headrace.access.viewing import MemoryViewing
from headrace.clock import SystemClock
from headrace.http.openapi import openapi
from headrace.http.reference import as_markdown
from headrace.registry.memory import MemoryRegistry
from headrace_control_api.api import make_api
from headrace_control_api.events import EventLog
from headrace_control_api.tokens import TokenOffice

INTRODUCTION = """\
# The API

Made from the API itself by `python -m headrace_control_api.documentation docs/api.md`; a test fails when it is out of
date. The same stands at `/docs` of every control API, and as OpenAPI 3.1 at `/api/v1/openapi.json`.

```sh
curl -H 'Authorization: Bearer <token>' http://127.0.0.1:8081/api/v1/streams?state=live
curl -N http://127.0.0.1:8081/api/v1/events
```

**Who may ask.** `control_api.tokens` may do everything, `write_tokens` read and change streams, `read_tokens` only
read. Without any token only programs of this machine are answered: the socket and the Host must be loopback, a page's
Origin our own or one of `control_api.cors_origins`, and no proxy may stand between. With tokens, who has one is
answered from anywhere.

**Shapes.** Bodies are JSON, at most 64 KiB; members and parameters that are not listed are refused. An error is an
`application/problem+json` document whose `errors` name each wrong field. Every answer has `X-Request-Id`, which is
`request_id` in the log; one that a proxy sends is kept. Answers of GET have an `ETag`: with `If-None-Match` an
unchanged one is `304`. A list that has more on a next page has `next`, to be given as `after`.

**How often.** Each token may ask `control_api.requests_per_second` (100) in the long run and `requests_burst` (1,000)
at once; so may each address that shows none that is known. More are answered `429`, and `Retry-After` says when to ask
again.

## As Flashphoner WCS

Scripts and pages that know WCS find `/rest-api/stream/find_all` and `/rest-api/stream/find`, by GET or POST. The body
may filter by `mediaSessionId`, `name`, `published` and `status`; other members are ignored. The answer is an array of
streams with WCS's members, `404` when there is none. `sessionId`, `sdp` and `transport` are empty, for these streams
were not published by WebRTC; `status` is `PUBLISHING`, or `PENDING` while a source is away. Errors have WCS's shape:
`timestamp`, `status`, `error`, `message`, `path`. Pages of other origins need `control_api.cors_origins`.

`/rest-api/stream/terminate` ends what the same filter, or `mediaSessionIds`, names, as far as its source was asked for
by API or pushed here from elsewhere. `POST /rest-api/stream/snapshot` with `streamName` answers `data`, a PNG in
base64.

| call | body | answer |
|---|---|---|
| `POST /rest-api/pull/push` | `uri`, `localStreamName`, `remoteStreamName` | `200` |
| `POST /rest-api/pull/pull` | the same | `200` |
| `/rest-api/pull/find_all`, by GET or POST | nothing, or a filter by these | an array of transfers, or `404` |
| `POST /rest-api/pull/terminate` | a filter by these | `200`, or `404` when there is none |

A transfer has `localMediaSessionId`, `remoteMediaSessionId`, `localStreamName`, `remoteStreamName`, `uri`, `status` and
`info`. What is not done is answered `400`, `404`, `409`, `500`, `501` or `503`.
All of them are also there below `/rest-api/pull/rtmp/`, `/rtsp/` and `/srt/`, whatever the address. Transfers
are described in [transfers.md](transfers.md).

"""


def document() -> dict[str, Any]:
    """Return the OpenAPI document of an API that looks at nothing."""
    clock = SystemClock()
    registry = MemoryRegistry(clock=clock)
    return openapi(make_api(registry, EventLog(registry, clock), TokenOffice(MemoryViewing(clock), clock)))


def page() -> str:
    """Return the whole page."""
    return INTRODUCTION + as_markdown(document())


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
