"""ITU-T G.711 as SIPp's helpers need it: linear samples to codes, one at a time."""


def mulaw(linear):
    """ITU-T G.711, 14 bits."""
    magnitude = min((abs(linear) >> 2) + 33, 0x1FFF)
    segment = magnitude.bit_length() - 6
    return ~((0x80 if linear < 0 else 0) | segment << 4 | (magnitude >> segment + 1) & 15) & 0xFF


def alaw(linear):
    """ITU-T G.711, 13 bits, every other bit turned."""
    magnitude = min(abs(linear) >> 4, 0x7FF)
    segment = max(magnitude.bit_length() - 4, 0)
    step = magnitude >> segment - 1 & 15 if segment > 1 else magnitude & 31
    code = segment << 4 | step if segment > 1 else step
    return ((0 if linear < 0 else 0x80) | code) ^ 0x55
