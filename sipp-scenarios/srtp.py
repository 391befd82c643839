"""SRTP as play.py needs it: sending by AES_CM_128_HMAC_SHA1_80 (RFC 3711) without rollover. Written from the RFC, apart from the recorder's;
the cipher is OpenSSL's command, asked once for all of a stream."""

import hashlib
import hmac
import struct
import subprocess


def aes(key, blocks):
    """Each block of 16 bytes enciphered by itself."""
    command = ["openssl", "enc", "-aes-128-ecb", "-nopad", "-K", key.hex()]
    return subprocess.run(command, input=blocks, stdout=subprocess.PIPE, check=True).stdout


def counters(iv, length):
    """RFC 3711 section 4.1.1: what is enciphered for so many bytes of key stream."""
    return b"".join((iv + number).to_bytes(16, "big") for number in range(-(-length // 16)))


def derive(master):
    """RFC 3711 section 4.3.1: cipher key, authentication key and salt from 30 bytes as `inline:` holds them."""
    salt = int.from_bytes(master[16:30], "big")
    # The label stands above the 48 bits of the index; each of the three asks for 32 bytes.
    stream = aes(master[:16], b"".join(counters((salt ^ label << 48) << 16, 32) for label in range(3)))
    return stream[:16], stream[32:52], int.from_bytes(stream[64:78], "big")


def protect(master, packets):
    """SRTP packets from RTP packets without CSRCs and extensions."""
    key, auth, salt = derive(master)
    asked = []
    for packet in packets:
        sequence, ssrc = struct.unpack(">2xH4xI", packet[:12])
        asked.append(counters(salt << 16 ^ ssrc << 64 ^ sequence << 16, len(packet) - 12))
    stream, at = aes(key, b"".join(asked)), 0
    for packet, blocks in zip(packets, asked):
        payload = bytes(a ^ b for a, b in zip(packet[12:], stream[at:]))
        at += len(blocks)
        sealed = packet[:12] + payload
        yield sealed + hmac.new(auth, sealed + bytes(4), hashlib.sha1).digest()[:10]
