"""Whatever stands in a command line, redacting it ends, soon, and leaves a command line of the same form."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.events.arguments import Arguments
from exporter.redact.command_lines import redact_arguments
from tests.fuzz.draw import Draw
from tests.fuzz.redaction import arguments_of, keeps_the_form
from tests.fuzz.strategies import draws
from tests.unit.redact.pieces import COMMANDS, HINTS, MARKS, NAMES, TEXTS, WORDS


@given(draws())
def test_a_command_line_keeps_its_form_and_redacting_twice_is_redacting_once(draw: Draw) -> None:
    keeps_the_form(arguments_of(draw))


@given(st.binary(max_size=200))
def test_a_block_of_any_bytes_is_arguments_of_valid_utf_8(block: bytes) -> None:
    shown = Arguments(block).shown
    assert len(shown) == block.removesuffix(b"\0").count(b"\0") + bool(block)
    assert all(argument.encode().decode() == argument for argument in shown)


@given(
    st.sampled_from(COMMANDS),
    st.text(st.characters(categories=["L", "N"]), min_size=12).map(lambda text: f"s3cr3t{text}"),
)
def test_whatever_the_secret_it_leaves(command: str, secret: str) -> None:
    assert secret not in " ".join(redact_arguments([word.format(secret) for word in command.split()]))


_REPEATED = sorted(
    {*HINTS, *NAMES, *MARKS, *TEXTS}
    | {"a", "a=", "a:", "a.", "a-", "a]", "aA", "a = ", '"a"  ', "1:AA", "x,token=id=", "token='", 'token="'}
    | {
        "://",
        "://a:",
        "x://a@",
        "x://a:@",
        "a://a:b/",
        "a://a:b@c/",
        "eyJ-",
        "eyJaaaaaaaa.eyJ",
        "-ffffffffu ",
    }
    | {"--token ", "--token=x ", "curl -u ", 'sh -c "', "auth(", "auth('a','", "-----BEGIN ", "PRIVATE KEY"}
    | {" ".join(WORDS[at::8]) for at in range(8)}
    | {"proxyauth=", "user=", "secret,data=", "password=,", "s/@TOKEN@/", "/password=", "name=token,value="}
    | {
        "echo x | sudo ",
        "chpasswd <<< ",
        "<password>x</",
        "identified by ",
        "-u bob -p ",
        "-u bob -p x ",
        "-a x ",
    }
    | {
        "jwt.sign(x,'",
        "'x' | password_hash",
        "set password x ",
        "/password password ",
        "connect to x user y using ",
    }
    | {"vault login ", "config token ", "ssh curl ", "ssh mysql zip "}
    | {
        "mc alias set --x y ",
        "-x y ",
        "A='-x ",
        "A=-x ",
        "$(echo ",
        "=$(a)",
        "@/",
        "manage.py changepassword ",
    }
    | {
        "pw: x\n",
        "{pw: x,",
        "{ ",
        "\n  ",
        '"pw = x"',
        "\\npw = x\\n",
        "pw:    ",
        "\n" + " " * 16,
        "(echo x; ",
        "echo (x",
    }
    | {"(echo x; echo x) | ", "chpasswd <<E\n", "chpasswd <<E\nE\n", "--stdin <<", "| vault kv put "}
    | {
        "crypt('x'",
        "aes_decrypt('x','",
        "aes_decrypt(x,'",
        "set_config('pw','",
        "mysql('a',",
        "mysql('a','a','a','a','",
    }
    | {
        '"SecureString","Value":"',
        '"path":"/a/pw","value":"',
        '"path":"/',
        "/hooks/a",
        "/api/push/a",
        "bundle_a__com=",
    }
)


_LONG = (
    *(" ".join(WORDS[at::8]) for at in range(8)),
    *(
        "-u bob -p x ",
        "set password x ",
        "password: '",
        "proxyauth=",
        "user=",
        "-u ",
        "curl ",
        "a:b@c ",
        "a:b@",
    ),
    *("mc alias set --x y ", "pw: x\n", "(echo x; ", "chpasswd <<E\n", "mysql('a','a','a','a','"),
    *("echo x | sudo ", "chpasswd <<< ", "<a>x</", "s/@TOKEN@/", "name=token,value=", "jwt.sign(x,'", " "),
)


def _cpu_s(piece: str, size: int, *, is_spread: bool) -> float:
    text = (piece * size)[:size]
    arguments = text.split(" ") if is_spread else ["sh", "-c", text]
    began_s = time.process_time()
    redact_arguments(arguments)
    return time.process_time() - began_s


@pytest.mark.parametrize("is_spread", [False, True], ids=["script", "arguments"])
@pytest.mark.parametrize("piece", _REPEATED, ids=lambda piece: ascii(piece[:40]))
def test_the_work_grows_no_faster_than_the_text(piece: str, *, is_spread: bool) -> None:
    few = min(_cpu_s(piece, 4 << 10, is_spread=is_spread) for _ in range(3))
    # Eight times the text takes eight times the time; quadratic would be sixty-four times. What else the
    # machine does only adds to it: one that was let alone tells.
    tries = (_cpu_s(piece, 32 << 10, is_spread=is_spread) for _ in range(30))
    assert any(many < 24 * max(few, 0.001) for many in tries)


@pytest.mark.parametrize("is_spread", [False, True], ids=["script", "arguments"])
@pytest.mark.parametrize("piece", _LONG, ids=lambda piece: ascii(piece[:40]))
def test_a_line_of_128_kib_is_no_worse(piece: str, *, is_spread: bool) -> None:
    few = min(_cpu_s(piece, 16 << 10, is_spread=is_spread) for _ in range(3))
    tries = (_cpu_s(piece, 128 << 10, is_spread=is_spread) for _ in range(10))
    assert any(many < 24 * max(few, 0.001) for many in tries)
