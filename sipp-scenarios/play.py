#!/usr/bin/env python3
"""Plays tones into a recorder as RTP: the audio of the scenarios beside this file, which tell it the ports they were given.

    python3 play.py HOST FLOW...        for example: python3 play.py 127.0.0.1 10000:440 10002:1000:law=a
    python3 play.py --listen FIFO       plays each line that is written to FIFO: HOST FLOW...

A FLOW is PORT:HZ and then any of
    ms=1200         so long
    at=300          it starts so many ms after the others
    law=u           PCMU (0), a: PCMA (8), ua: the first half in PCMU and the second in PCMA
    ssrc=0x53       its SSRC; by itself each flow has one of its own
    seq=, ts=       its first sequence number and timestamp
    own=1           sent from another socket, as a stranger would; 2 from one more
    gap=400-800     nothing is sent then, and nothing is missing (discontinuous transmission)
    cn=400-800      one comfort noise packet (13) and silence
    digit=400-600   a digit as telephone-event (RFC 4733), payload type 101
    skip=10         so many packets in the middle are lost
    srtp=0123...    protected with this master key and salt: 30 bytes in hexadecimal
Other flows to the same port share a socket, also later ones to one listening player, as the streams of one phone do. Needs no privileges.
"""

import functools
import math
import os
import socket
import struct
import sys
import threading
import time

from g711 import alaw, mulaw
from srtp import protect

RATE, PACKET, MS = 8000, 160, 20
LAWS = {"u": (0, mulaw), "a": (8, alaw)}


@functools.lru_cache
def tone(encode, hz, phase):
    """A packet of it, which is 20 ms; phase counts in 1/RATE of a turn."""
    turns = ((phase + i * hz) / RATE for i in range(PACKET))
    return bytes(encode(int(12000 * math.sin(2 * math.pi * turn))) for turn in turns)


class Flow:
    """One stream: what is sent to which port and when."""

    def __init__(self, text, number):
        port, hz, *options = text.split(":")
        options = dict(option.split("=") for option in options)
        self.port, self.hz = int(port), int(hz)
        self.number = lambda name, default: int(options.get(name, str(default)), 0)
        self.ms, self.at = self.number("ms", 1200), self.number("at", 0)
        self.ssrc = self.number("ssrc", 0x5EED0000 + number)
        self.laws = options.get("law", "u")
        self.origin = self.number("own", 0)
        span = lambda name: tuple(map(int, options.get(name, "0-0").split("-")))
        self.gap, self.cn, self.digit = span("gap"), span("cn"), span("digit")
        self.skip = self.number("skip", 0)
        self.srtp = bytes.fromhex(options.get("srtp", ""))

    def tone(self, index):
        """A packet's payload type and payload."""
        half = index * MS * len(self.laws) // self.ms
        payload_type, encode = LAWS[self.laws[min(half, len(self.laws) - 1)]]
        return payload_type, tone(encode, self.hz, index * PACKET * self.hz % RATE)

    def packets(self):
        """(when in ms, packet) of all that is sent."""
        times, packets = zip(*self.plain())
        return zip(times, protect(self.srtp, packets) if self.srtp else packets)

    def plain(self):
        """The same before it is protected."""
        sequence, timestamp = self.number("seq", 100), self.number("ts", 4000)
        count = self.ms // MS
        lost = range((count - self.skip) // 2, (count + self.skip) // 2)
        marker = 0x80
        for index in range(count):
            at, stamp = index * MS, timestamp + index * PACKET
            inside = lambda span: span[0] <= at < span[1]
            if inside(self.gap) or (inside(self.cn) and at != self.cn[0]):
                marker = 0x80
                continue
            if inside(self.cn):
                payload_type, payload = 13, b"\x40"
            elif inside(self.digit):
                # RFC 4733 section 2.3: the event's own timestamp stays, its duration grows.
                duration = (at - self.digit[0] + MS) * RATE // 1000
                ends = 0x80 if at + MS >= self.digit[1] else 0
                stamp = timestamp + self.digit[0] * RATE // 1000
                payload_type, payload = 101, struct.pack(">BBH", 5, ends | 10, duration)
            else:
                payload_type, payload = self.tone(index)
            if index not in lost:
                head = (0x80, marker | payload_type, sequence & 0xFFFF, stamp & 0xFFFFFFFF, self.ssrc)
                yield self.at + at, struct.pack(">BBHII", *head) + payload
            sequence, marker = sequence + 1, 0


@functools.cache
def socket_for(host, port, origin):
    """The one from which a port is played to; it stays open."""
    return socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)


def play(host, texts):
    """Plays all flows to their end."""
    flows = [Flow(text, number) for number, text in enumerate(texts)]
    everything = [(at, flow, packet) for flow in flows for at, packet in flow.packets()]
    everything.sort(key=lambda one: one[0])
    start = time.monotonic()
    for at, flow, packet in everything:
        time.sleep(max(0, start + at / 1000 - time.monotonic()))
        socket_for(host, flow.port, flow.origin).sendto(packet, (host, flow.port))


def listen(fifo):
    """One process for many scenarios: starting Python takes longer than some calls last. Opened for writing, too: never at its end."""
    with os.fdopen(os.open(fifo, os.O_RDWR)) as lines:
        for line in lines:
            host, *texts = line.split()
            threading.Thread(target=play, args=(host, texts)).start()


if __name__ == "__main__":
    if sys.argv[1] == "--listen":
        listen(sys.argv[2])
    else:
        play(sys.argv[1], sys.argv[2:])
