"""Text as it may leave the process: valid UTF-8 of bounded size."""

from __future__ import annotations

LIMIT_BYTES = 8192


def clean(text: str) -> str:
    """`text` with U+FFFD for surrogates: Python's stand-in for bytes that aren't UTF-8."""
    return text.encode(errors="surrogatepass").decode(errors="replace")


def cut(text: str, limit_bytes: int = LIMIT_BYTES) -> tuple[str, bool]:
    """`text` of at most `limit_bytes` of UTF-8, never within a character, and whether it was longer."""
    if len(text) * 4 <= limit_bytes:
        return text, False
    encoded = text.encode()
    if len(encoded) <= limit_bytes:
        return text, False
    return encoded[:limit_bytes].decode(errors="ignore"), True
