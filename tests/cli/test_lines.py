"""What any command says fits the page, names what was wrong, and can be copied."""

import io
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.cells import cell_len

import edsl
from edsl.cli import main as cli
from edsl.cli.named_task import task_and_spec, task_and_specs
from edsl.cli.render.lines import broken, next_command, told
from edsl.errors import EdslError
from edsl.plotting import pyplot, write_plain_numbers

COMMANDS = typer.main.get_command(cli.app).commands  # pyright: ignore[reportAttributeAccessIssue]
ALTO = str(edsl.parse("alto"))


def edsl_said(capsys, monkeypatch, *words, columns=80) -> tuple[Any, str, str]:
    """(exit code, stdout, stderr) of a command in this process."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys, "argv", ["edsl", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    return ended.value.code or 0, out, err


def test_running_text_is_broken_between_words_and_what_is_set_in_stays():
    spec = "    grad | e(alpha=-5) | lamb(lr=0.01)\n        ^"
    assert broken(f"a long message\n{spec}", 12, "edsl: ") == f"edsl: a long\n      message\n{spec}"
    assert broken("averylongword and more", 6) == "averylongword\nand\nmore"


def test_a_message_is_one_line_where_nothing_bounds_the_page(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    page = io.StringIO()
    told("word " * 40, page)
    assert page.getvalue().count("\n") == 1


def test_a_command_to_run_next_is_what_a_shell_takes():
    assert next_command("report", Path("my dir/é")) == "\n    edsl report 'my dir/é'"


WIDE = [
    ("show", "alto"),
    ("show", "@mine.edsl"),
    ("explain", "alto"),
    ("list",),
    ("list", "lamb"),
    ("list", "--kind", "update"),
    ("list", "--zoo"),
    ("check-stability", "-5", "0.99"),
    ("check-regret",),
    ("equivalent", "alto", "lamb"),
    ("certify", "sgd(lr=1, momentum=0.9)", "--condition", "10"),
    ("plan", "emuon", "alto", "--params", "resnet20"),
    ("verify", "sgd", "--against", "adam", "--steps", "1", "--mode", "eager"),
    ("suite", "lightbench"),
    ("plan", "alto", "--state-dtype", "int3"),
    ("show", "sgd | e"),
    ("show", "alto", "--params", "nothing"),
    ("compare", "digits", "alto", "--seconds", "1", "--epochs", "1"),
    ("compare", "nothing", "alto"),
]


@pytest.mark.parametrize("words", WIDE, ids=" ".join)
def test_lines_fit_80_columns_unless_they_are_a_spec(words, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("mine.edsl").write_text("# mine\n@update\ndef mine(u, *, lr=0.1):\n    return -lr * u\n\nmine(lr=0.3)\n")
    code, out, err = edsl_said(capsys, monkeypatch, *words)
    assert code in (0, 1, 2)
    specs = {str(edsl.parse(word)) for word in ("alto", "emuon", "lamb")}
    assert [line for line in (out + err).splitlines() if cell_len(line) > 80 and line not in specs] == []
    assert out + err


NUMBERS = [
    (command, max(parameter.opts, key=len))
    for command, one in COMMANDS.items()
    for parameter in one.params
    if parameter.param_type_name == "option" and not parameter.is_flag
    if any(kind in str(vars(parameter).get("type_descriptor", "")) for kind in ("'int'", "'float'"))
]


def test_every_number_of_every_command_that_is_none_is_named_with_what_was_given():
    assert len(NUMBERS) > 50
    for command, option in NUMBERS:
        with pytest.raises(EdslError, match=rf"^{option} must be a (whole )?number, got 'many'$"):
            COMMANDS[command].make_context(command, [option, "many"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("shw", "alto"), "No such command 'shw'; did you mean 'show'?"),
        (("show", "alto", "--jsonn"), "No such option: --jsonn; did you mean --json?"),
        (("show", "alto", "lamb"), "unexpected argument 'lamb'; see `edsl show --help`"),
        (("verify", "sgd", "--against"), "Option '--against' requires an argument; see `edsl verify --help`"),
        (("list", "日本"), "nothing is called '日本'; there are: see `edsl list`"),
        (
            ("train", "sgd", "--task", "digits", "--seed", "-1"),
            "seed must be a whole number from 0 to 2**32 - 1, got -1",
        ),
        (("train", "digits", "sgd", "lamb"), "edsl train takes one spec, got 2: sgd, lamb"),
        (("compare", "mytask", "sgd"), "unknown task 'mytask'; of the file here write mytask.py"),
        (("fmt", "@nothing.edsl"), "nothing.edsl: no such file"),
        (("show", "@empty.edsl"), "empty.edsl: the spec is empty; write one such as grad | e | lamb(lr=0.01)"),
        (("compare", "digits", "sgd", "@bytes.edsl"), "bytes.edsl: expected text in UTF-8"),
        (("compare", "digits", "sgd", "--baseline", "@typo.edsl"), "typo.edsl: unknown stage 'sgdd'"),
    ],
    ids=" ".join,
)
def test_what_is_wrong_is_said_in_one_sentence_with_what_to_do(words, said, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name, held in {"mytask.py": b"", "empty.edsl": b"", "bytes.edsl": b"\xff\x00", "typo.edsl": b"sgdd"}.items():
        Path(name).write_bytes(held)
    code, out, err = edsl_said(capsys, monkeypatch, *words, columns=200)
    assert (code, out) == (2, "")
    assert err.startswith(f"edsl: {said}")


TASKS = ["compare", "train", "sweep", "ablate", "sharpness"]


@pytest.mark.parametrize("command", TASKS)
def test_a_task_is_named_by_option_or_first_alike_in_every_command_that_trains(command, capsys, monkeypatch):
    grid = ("--grid", "lr=0.1,1") if command == "sweep" else ()
    refused = ("--batch", "5000", *grid)  # once the task is read
    first = edsl_said(capsys, monkeypatch, command, "digits", "alto", *refused)
    assert first == edsl_said(capsys, monkeypatch, command, "alto", "--task", "digits", *refused)
    assert "1257 training examples of digits" in first[2]
    _, _, twice = edsl_said(capsys, monkeypatch, command, "digits", "alto", "--task", "digits", *grid)
    assert "the task is given twice: digits, and --task digits" in twice


def test_several_tasks_are_named_alike_by_compare_and_suite(capsys, monkeypatch):
    said = {
        edsl_said(capsys, monkeypatch, *words, "--batch", "5000")
        for words in (
            ("suite", "digits,cancer", "sgd"),
            ("suite", "sgd", "--task", "digits,cancer"),
            ("compare", "digits,cancer", "sgd"),
            ("compare", "sgd", "--task", "digits,cancer"),
        )
    }
    ((code, _, err),) = said
    assert code == 2
    assert "training examples" in err


def test_a_first_word_is_a_task_where_it_is_no_spec():
    assert task_and_specs(None, ["mytask.py", "sgd"]) == ("mytask.py", ["sgd"])
    assert task_and_specs(None, ["digts", "sgd"]) == ("digts", ["sgd"])
    assert task_and_specs(None, ["glue:mrpc", "sgd"]) == ("glue:mrpc", ["sgd"])
    assert task_and_specs(None, ["sgd", "lamb"]) == (None, ["sgd", "lamb"])
    assert task_and_specs("digits", ["sgd"]) == ("digits", ["sgd"])
    assert task_and_spec(None, ["digits"], "train") == ("digits", None)
    with pytest.raises(EdslError, match="takes one spec"):
        task_and_spec("digits", ["sgd", "lamb"], "train")


DRAWN = [
    ("map", "esgd"),
    ("frequency", "esgd"),
    ("landscape", "cardioid", "sgd"),
    ("certify", "sgd", "--condition", "10"),
    ("design", "sgd", "--condition", "10"),
]


@pytest.mark.parametrize("words", [*DRAWN, ("train", "digits", "sgd")], ids=" ".join)
@pytest.mark.parametrize("out", ["/proc/x.png", "nowhere/x.png", "folder.png"])
def test_a_file_that_can_not_be_written_is_told_before_any_work(words, out, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("folder.png").mkdir()
    monkeypatch.setattr("edsl.theory.systems.linearise.linearise", None)  # what any of these would begin with
    monkeypatch.setattr("edsl.lab.races.build.race", None)
    code, printed, err = edsl_said(capsys, monkeypatch, *words, "--out", out)
    assert (code, printed) == (2, "")
    assert err.startswith(f"edsl: can't write {out}")
    assert list(tmp_path.iterdir()) == [tmp_path / "folder.png"]


def test_fmt_takes_a_file_with_or_without_the_at_of_other_commands(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("a.edsl").write_text("grad|sgd")
    plain = edsl_said(capsys, monkeypatch, "fmt", "a.edsl")
    assert plain == edsl_said(capsys, monkeypatch, "fmt", "@a.edsl")
    Path("@a.edsl").write_text("grad|lion")  # a name that is there is that file
    assert "lion" in edsl_said(capsys, monkeypatch, "fmt", "@a.edsl")[1]


@pytest.mark.parametrize(("values", "plain"), [((0.95, 1.0), True), ((0.01, 1.0), False)])
def test_a_logarithmic_axis_within_a_decade_has_plain_numbers(values, plain):
    figure = pyplot().figure()
    axes = figure.subplots()
    axes.semilogy([0, 1], values)
    write_plain_numbers(figure)
    figure.canvas.draw()
    labels = [label.get_text() for label in axes.get_yticklabels() if label.get_text()]
    pyplot().close(figure)
    assert len(labels) > 1
    assert all(label.replace(".", "").isdigit() for label in labels) == plain
