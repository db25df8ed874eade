"""Help texts, of all commands and options."""

import re

import pytest
import typer

from edsl.cli.main import app

PRIVATE = r"(?i)\b(told|lying|lies|stands?|whoever|kin|looked at|beside|roster|conference)\b"


def _texts():
    """(command, what the text is of, text) for each command, option and argument that typer shows."""
    whole = typer.main.get_command(app)
    for name, command in {"edsl": whole, **whole.commands}.items():
        yield name, "command", command.help
        for parameter in command.params:
            if not getattr(parameter, "hidden", False):
                yield name, parameter.name, parameter.help


TEXTS = list(_texts())


def test_every_command_and_option_is_walked():
    assert len({name for name, *_ in TEXTS}) >= 20
    assert {"seed", "targets", "gpus", "schedule", "dtype"} <= {what for _, what, _ in TEXTS}


@pytest.mark.parametrize(("name", "what", "text"), TEXTS, ids=[f"{name}-{what}" for name, what, _ in TEXTS])
def test_a_help_text_is_one_plain_sentence_for_a_newcomer(name, what, text):
    assert text, f"{name}: {what} has no help text"
    assert not re.match(r"(?i)of\b", text), "name the thing: 'Seed of …', not 'Of …'"
    assert text[0].isupper() or text.startswith("dtype"), text
    assert text.rstrip().endswith((".", "…")) or "Example: " in text, text
    assert not re.search(PRIVATE, text), re.search(PRIVATE, text)
