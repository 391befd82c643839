#!/usr/bin/env python3
"""Writes tones.pcap: what two parties say, for SIPp to play into the recorder.

    python3 tones.py [SECONDS] [OUT.pcap]      4 seconds, tones.pcap beside this file

Two RTP flows, 440 Hz in PCMU to port 6000 and 1000 Hz in PCMA to port 6002. SIPp keeps the distance between the ports of
a capture: the lowest goes to the first m-line's port, the other one two above, which is where the recorder listens
for the second m-line (the scenario checks that).
"""

import math
import os
import struct
import sys

from g711 import alaw, mulaw

RATE, PACKET = 8000, 160


def udp(port, payload):
    """An Ethernet frame from 127.0.0.1 to 127.0.0.1; SIPp overwrites the addresses."""
    datagram = struct.pack(">HHHH", port, port, 8 + len(payload), 0) + payload
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(datagram), 0, 0, 64, 17, 0, bytes([127, 0, 0, 1]), bytes([127, 0, 0, 1]))
    return bytes(12) + b"\x08\x00" + ip + datagram


def flow(hz, encode, payload_type, ssrc, port, seconds):
    for number in range(seconds * RATE // PACKET):
        first = number * PACKET
        samples = (int(12000 * math.sin(2 * math.pi * hz * (first + i) / RATE)) for i in range(PACKET))
        marker = 0x80 if number == 0 else 0
        header = struct.pack(">BBHII", 0x80, marker | payload_type, number & 0xFFFF, first, ssrc)
        yield number * 20_000, udp(port, header + bytes(map(encode, samples)))


def main():
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 4
    out = sys.argv[2] if len(sys.argv) > 2 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "tones.pcap")
    frames = [*flow(440, mulaw, 0, 0x11111111, 6000, seconds), *flow(1000, alaw, 8, 0x22222222, 6002, seconds)]
    with open(out, "wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for us, frame in sorted(frames, key=lambda frame: frame[0]):
            file.write(struct.pack("<IIII", us // 1_000_000, us % 1_000_000, len(frame), len(frame)) + frame)


main()
