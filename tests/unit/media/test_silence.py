"""Silence: what stands in for missing sound decodes, and cannot be heard."""

from __future__ import annotations

from typing import Any

import av
import msgspec
import pytest

from headrace.media.bitstream import aac_config, opus_head
from headrace.media.silence import silent_frame
from support.feeds import AAC, OPUS, VIDEO


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("codec", ["aac", "opus"])
def test_silence_decodes_to_silence(codec: str, channels: int) -> None:
    """libav's own decoder makes whole frames of it, and every sample of them is zero."""
    track = msgspec.structs.replace(AAC if codec == "aac" else OPUS, channels=channels)
    decoder: Any = av.CodecContext.create(codec, "r")
    decoder.extradata = aac_config(48_000, channels) if codec == "aac" else opus_head(channels)
    frames = [frame for _ in range(20) for frame in decoder.decode(av.Packet(silent_frame(track)))]
    assert len(frames) >= 19
    for frame in frames:
        assert frame.samples >= 600
        assert frame.layout.nb_channels == channels
        assert not any(any(bytes(plane)) for plane in frame.planes)


def test_no_silence_for_what_is_not_known() -> None:
    """Nothing is made up for pictures, other codecs, or numbers of channels without a frame."""
    assert silent_frame(VIDEO) == b""
    assert silent_frame(AAC) == b""
    assert silent_frame(msgspec.structs.replace(AAC, channels=6)) == b""
    assert silent_frame(msgspec.structs.replace(AAC, codec="mp4a.40.5", channels=2)) == b""
