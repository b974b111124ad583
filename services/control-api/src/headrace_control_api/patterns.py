"""Regular expressions of what the API is asked, as far as a pattern can tell; they stand in its description."""

from __future__ import annotations

STREAM_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_.~-]*(/[A-Za-z0-9_][A-Za-z0-9_.~-]*)*$"
NODE_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"

_OCTET = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_GROUP = "[0-9A-Fa-f]{1,4}"
_IPV4 = rf"{_OCTET}(\.{_OCTET}){{3}}(/(3[0-2]|[12]?[0-9]))?"
_IPV6 = "|".join(
    [
        rf"({_GROUP}:){{7}}{_GROUP}",
        rf"({_GROUP}:){{1,7}}:",
        *(rf"({_GROUP}:){{1,{count}}}(:{_GROUP}){{1,{7 - count}}}" for count in range(1, 7)),
        rf":((:{_GROUP}){{1,7}}|:)",
    ]
)
NETWORK_PATTERN = rf"^({_IPV4}|({_IPV6})(/(12[0-8]|1[01][0-9]|[1-9]?[0-9]))?)$"

_CODED = "%([1-9A-Fa-f][0-9A-Fa-f]|0[1-9A-Fa-f])"
USER_PATTERN = rf"(([A-Za-z0-9._~!$&'()*+,;=:-]|{_CODED})+@)?"
_PORT = ":(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})"
PORT_PATTERN = f"({_PORT})?"
PATH_PATTERN = rf"([/?]([!\"$&-\[\]-~]|{_CODED})*)?"
"""Path and query; `#` and backslashes have no place in them, and a percent sign has two digits after it, not 00."""

FILE_PATTERN = rf"file:(///|/)?([A-Za-z0-9_.~-]|{_CODED})([A-Za-z0-9_.~/-]|{_CODED})*"
HOST_PATTERN = rf"([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[({_IPV6})\])"
_SIDE = "([2-9][0-9]|[12][0-9]{2}|3[0-7][0-9]|38[0-3]|1[3-9])[02468]|128|3840"
_SMALL_SIDE = f"6[468]|[78][02468]|9[02468]|1[0-2][02468]|{_SIDE}"
_RATE = r"([1-9][0-9]?|1[01][0-9])(\.[0-9]{1,6})?|120|(24|30|48|60|120)000/1001"
_GOP = r"([1-9]?[0-9]|[1-5][0-9]{2})(\.[0-9]{1,6})?|600"
_SIZE, _PACE, _GOPS = f"size=({_SIDE})x({_SMALL_SIDE})", f"rate=({_RATE})", f"gop=({_GOP})"
_ONE_KIND = "(audio|video)=(yes|no)"
_SHOWN = (
    f"{_SIZE}(&{_PACE})?(&{_GOPS})?(&{_ONE_KIND})?|{_PACE}(&{_GOPS})?(&{_ONE_KIND})?|{_GOPS}(&{_ONE_KIND})?|{_ONE_KIND}"
)
TEST_PATTERN = rf"test:(\?({_SHOWN}))?"
"""The test pattern, with options in this order: a pattern cannot say otherwise that each stands there once."""

SOURCE_PATTERN = (
    rf"^((rtsps?|rtmps?|srt|https?)://{USER_PATTERN}{HOST_PATTERN}{PORT_PATTERN}{PATH_PATTERN}"
    rf"|udp://{HOST_PATTERN}{_PORT}|{FILE_PATTERN}|{TEST_PATTERN})$"
)

PRINTABLE_PATTERN = r"^[^\x00-\x1f\x7f]*$"
