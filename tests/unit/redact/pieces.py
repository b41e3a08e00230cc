"""Pieces of command lines: what the rules for secrets look for, and what looks like it."""

from __future__ import annotations

from exporter.redact.names import REDACTED
from exporter.redact.places import SECRET_PLACES
from exporter.redact.programs import LATE_WORDS, SECRET_OPTIONS
from exporter.redact.tokens import TOKEN_SHAPES

WORDS = sorted(
    {word for row in SECRET_OPTIONS for word in (*row.programs, *row.options, *row.subcommands)}
    | {word for place in SECRET_PLACES for word in place.words}
    | LATE_WORDS
)
HINTS = [hint for shape in TOKEN_SHAPES for hint in shape.hints]
NAMES = [
    *("--token", "--password=", "--key", "-p", "-u", "-H", "-c", "-m", "TOKEN=", "token", "key=", "?code="),
]
MARKS = [*"\"'\\ \n\0=&;,:-_@/<>[](){}$|#.", "://", "=>", '\\"', "$X", "${X}", "$(x)", REDACTED, "«", "%41"]
_KEY = "PRIVATE KEY"
TEXTS = [
    *("Authorization: ", "authorization:", "Bearer ", "X-Api-Key:", "extraheader=", "auth=('u','"),
    *("https://", "x://a:b@", "http://u:p@h.example/", "user:x@tcp(", "PASSWORD '", "identified by '"),
    *('"password": "', '"password": 12345', '\\"token\\":\\"', "['token'] = '", "password: '", "sh -c '"),
    *(f"-----{verb} {kind}{_KEY}-----" for verb in ("BEGIN", "END") for kind in ("", "RSA ")),
    *("abc", "s3cr3t", "x" * 20, "0a" * 20),
    *("\x1b[2J", "\u202e", "\u200b", "\ud800", "é", "日本", "\u2028"),
]
COMMANDS = [
    *("deploy --password={}", "deploy --token {}", "env API_KEY={} make", "curl -u bob:{} x"),
    *("mysql -p{} app", "vault login {}", "docker login -u bob -p {} r.example"),
    *("curl -H Authorization:{} x", "git clone https://u:{}@h.example/a"),
]
"""Each with the place of a secret that is found there."""
