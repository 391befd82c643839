"""Opens one sealed file with the official Tink, as someone without Tapehead would.

    tink_decrypt.py KEYSET FILE ASSOCIATED_DATA > plaintext

Exits 1 if Tink refuses the file.
"""

import sys

import tink
from tink import json_proto_keyset_format, secret_key_access, streaming_aead

BLOCK0_BYTES = 4096


def main(keyset_path, file_path, associated_data):
    streaming_aead.register()
    with open(keyset_path) as keyset:
        handle = json_proto_keyset_format.parse(keyset.read(), secret_key_access.TOKEN)
    primitive = handle.primitive(streaming_aead.StreamingAead)
    with open(file_path, "rb") as sealed:
        sealed.seek(BLOCK0_BYTES)
        try:
            with primitive.new_decrypting_stream(sealed, associated_data.encode()) as plain:
                content = plain.read()
        except tink.TinkError as why:
            print(f"refused: {why}", file=sys.stderr)
            return 1
    sys.stdout.buffer.write(content)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
