"""Texts that are nearly rules: right ones, changed a little by someone who knows the grammar, or means harm."""

from __future__ import annotations

# ruff: noqa: E501 (texts, as they are written)
import random
import re

from tests.rules.builtins import AGAIN

RIGHT = [
    *(f"{again.text}\n{again.ruled or again.own}" for again in AGAIN.values()),
    "@update\ndef a(u, *, lr=0.1, momentum: decay = 0.9):\n    return muon(direction(soap(u)), lr=lr, momentum=momentum)\n\na",
    "@wrapper\ndef b(delta):\n    moved = theta + delta\n    return ratio(norm(theta), norm(moved)) * moved - theta\n\nsgd | b",
    "@adaptor\ndef c(u, *, n: whole = 3, way: choice('a', 'b') = 'a'):\n    if way == 'a':\n        u = every(n, u, -u)\n"
    "    return where(u > 0, u, tanh(u))\n\n@update\ndef d(u, *, lr=1):\n    return sgd(c(u, n=4), lr=lr)\n\ngrad | c | d",
    "@update\ndef h(u, *, lr=0.1, beta: decay = 0.9):\n    m = ema(m, u, beta)\n    return -lr * m\n\n"
    "grad | e(alpha=linear(-5, to=0)) | h(lr=depth(cosine(0.1, warmup=3, floor=0.1), by=0.5), beta=wsd(0.9, decay=0.2))",
    "@update\ndef f(u, *, lr=0.1):\n    r = ema(r, row_mean(u * u), 0.9)\n    return -lr * u / sqrt(r + 1e-8)\n\nf(lr=0.5)",
    "@update\ndef s(u, *, lr=0.1):\n    c = c + total(abs(noise(u)))\n    x = weights(theta + clip(u, norm=1) + normal)\n    return -lr * u / c\n\ns",
]
VOCABULARY = [
    *(
        "cosine(0.1, warmup=3)",
        "linear(0, to=5)",
        "depth(0.1, by=0.5)",
        "width(1, base=8)",
        "step(1, at=3)",
        "power",
        "wsd",
    ),
    *("u", "theta", "g", "k", "lr", "m", "v", "hessian", "normal", "rows", "looks", "beta2", "delta", "x"),
    *(
        "sqrt",
        "ema",
        "norm",
        "mean",
        "where",
        "first",
        "every",
        "debias",
        "direction",
        "orthogonal",
        "product",
        "total",
        "weights",
        "noise",
    ),
    *("soap", "adam", "muon", "route", "guard", "clip", "grad", "alto", "e", "caution", "print", "open", "eval"),
    *("@update", "@adaptor", "@wrapper", "def", "return", "if", "else", "elif", "not", "and", "or", "lambda", "for"),
    *(
        "import os",
        "from os import system",
        "class A: pass",
        "while True:",
        "with open('x'):",
        "global u",
        "yield",
        "del u",
    ),
    *("__import__('os').system('x')", "().__class__.__bases__", "open('/etc/passwd')", "exec('1')", "u.data", "u[0]"),
    *("(", ")", "[", "]", "{", "}", ",", ":", "=", "==", "<", ">", "!=", "+", "-", "*", "/", "**", "@", "%", "|", "."),
    *(
        "0",
        "1",
        "-1",
        "0.5",
        "1e400",
        "9**9**9",
        "1/0",
        "0.0**-1",
        "10**309",
        "1j",
        "'a'",
        "b'a'",
        "f'{u}'",
        "None",
        "True",
    ),
    *(
        "decay",
        "positive",
        "whole",
        "switch",
        "within(0, 1)",
        "choice('a')",
        "within(1, 0)",
        "*",
        "**k",
        "/",
        "...",
        "#",
    ),
    *(
        "\n",
        "\n    ",
        "\n        ",
        "\t",
        "\r",
        "\x00",
        "é",
        "β",
        "ﬁ",
        "\u202e",
        "\u2028",
        "_",
        "__",
        "a__b",
        ";",
        "\\\n",
    ),
    *("(" * 80, "-" * 400, "u+" * 300 + "u", "not " * 50, "1e5" * 3, "x" * 200, "'" * 3, '"""'),
]
_TOKEN = re.compile(r"\w+|\s+|.", re.DOTALL)


def text(seed: int) -> str:
    """A text for this seed."""
    chance = random.Random(seed)
    made = chance.choice(RIGHT)
    if chance.random() < 0.2:
        made = f"{chance.choice(RIGHT).rpartition(chr(10))[0]}\n{made}"
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        made = _changed(made, chance)
    return made


def _changed(made: str, chance: random.Random) -> str:
    if chance.random() < 0.25:  # whole lines
        lines = made.split("\n")
        place, other = chance.randrange(len(lines)), chance.randrange(len(lines))
        match chance.randrange(4):
            case 0:
                del lines[place]
            case 1:
                lines.insert(place, lines[other])
            case 2:
                lines[place], lines[other] = lines[other], lines[place]
            case _:
                lines[place] = " " * chance.randrange(9) + lines[place].lstrip()
        return "\n".join(lines)
    parts = _TOKEN.findall(made) or [""]
    place, other = chance.randrange(len(parts)), chance.randrange(len(parts))
    match chance.randrange(4):
        case 0:
            parts[place] = chance.choice(VOCABULARY)
        case 1:
            parts.insert(place, chance.choice(VOCABULARY))
        case 2:
            parts[place] = parts[other]
        case _:
            del parts[place]
    return "".join(parts)
