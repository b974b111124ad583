"""Plays a URL with GStreamer's playbin3 at real speed, for a test; run by the system's Python, which has `gi`.

Prints a line of JSON each half second: seconds played, how often it stalled for want of media, pictures that came late,
and the error that ended it, if one did.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from typing import Any

import gi

gi.require_version("Gst", "1.0")
from gi.repository import GLib, Gst  # noqa: E402


@dataclasses.dataclass
class Seen:
    """What is printed."""

    played: float = 0.0
    stalls: int = 0
    late: int = 0
    error: str = ""


class Player:
    """One playbin and what it tells."""

    def __init__(self, url: str, seconds: float) -> None:
        self.seen = Seen()
        self.loop = GLib.MainLoop()
        self.seconds = seconds
        self.buffering = False
        self.began: int | None = None
        self.ends = time.monotonic() + seconds + 60
        self.bin = Gst.ElementFactory.make("playbin3")
        for kind in ("video", "audio"):
            sink = Gst.ElementFactory.make("fakesink", f"{kind}-sink")
            sink.set_property("sync", True)
            sink.set_property("qos", kind == "video")
            self.bin.set_property(f"{kind}-sink", sink)
        self.bin.set_property("uri", url)
        self.bus = self.bin.get_bus()
        self.bus.add_signal_watch()
        self.bus.connect("message", self.on_message)

    def run(self) -> None:
        self.bin.set_state(Gst.State.PLAYING)
        GLib.timeout_add(500, self.look)
        self.loop.run()
        self.bin.set_state(Gst.State.NULL)

    def on_message(self, _: Any, message: Any) -> None:
        if message.type == Gst.MessageType.ERROR:
            error, detail = message.parse_error()
            self.seen.error = f"{error.message} {detail}"
            self.look()
            self.loop.quit()
        elif message.type == Gst.MessageType.BUFFERING:
            short = message.parse_buffering() < 100
            self.seen.stalls += short and not self.buffering and self.began is not None
            self.buffering = short
            self.bin.set_state(Gst.State.PAUSED if short else Gst.State.PLAYING)
        elif message.type == Gst.MessageType.QOS:
            self.seen.late = max(self.seen.late, message.parse_qos_stats().dropped)

    def look(self) -> bool:
        known, position = self.bin.query_position(Gst.Format.TIME)
        if known and not self.buffering:
            self.began = position if self.began is None else self.began
            self.seen.played = max(self.seen.played, (position - self.began) / Gst.SECOND)
        print(json.dumps(dataclasses.asdict(self.seen)), flush=True)
        if self.seen.played >= self.seconds or time.monotonic() > self.ends:
            self.loop.quit()
        return True


if __name__ == "__main__":
    Gst.init(None)
    Player(sys.argv[1], float(sys.argv[2])).run()
