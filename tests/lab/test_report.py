"""A race's page, pictures and tables say what its record holds."""

import csv
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
from shell import run

from edsl.cli.render.race import print_race
from edsl.errors import EdslError
from edsl.lab.executors.driver import run_to_end
from edsl.lab.races.build import open_record, race
from edsl.lab.races.sweep import sweep
from edsl.lab.report import conclusions, pictures, sinks
from edsl.lab.report.page import write
from edsl.lab.report.stability import stability
from edsl.lab.results.result_tables import costs, outcomes
from edsl.lab.results.results import results

pytest.importorskip("matplotlib")


def ignore(_):
    pass


@pytest.fixture(scope="module")
def raced(tmp_path_factory):
    """A finished race with tuning, E and its controls."""
    folder = tmp_path_factory.mktemp("raced")
    chosen = race(
        "digits",
        ["eadam(lr=0.01)", "sgd(lr=0.1)"],
        model="linear",
        steps=20,
        seeds=3,
        lr="auto",
        trials=3,
        tune_seeds=1,
        controls=True,
    )
    record = open_record(chosen, folder, False)
    found = run_to_end(chosen, record, ignore)
    written = write([(chosen, found, record.finished, folder)], folder)
    return chosen, found, record, written


class Text(HTMLParser):
    """The words of a page, and whether every tag is closed."""

    def __init__(self, text):
        super().__init__()
        self.words, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "br", "path", "use"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in self.open:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def lines_of(place):
    with place.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_page_stands_alone_and_says_question_answer_doubts_and_budget(raced):
    chosen, found, _, written = raced
    text = written.page.read_text()
    page = Text(text)
    assert page.open == []
    words = " ".join(" ".join(page.words).split())
    for heading in ("Summary", "Limitations", "Results", "Budget", "Costs"):
        assert heading in words
    assert conclusions.question(chosen) in words
    assert all(row.name in words and row.spec in words for row in found.rows)
    assert not re.search(r'(src|href)="(?!#)', text.replace("xlink:href", "link"))  # nothing is fetched
    assert len(re.findall("<svg", text)) == 3


def test_the_terminal_says_what_the_page_says(raced, capsys, monkeypatch):
    chosen, found, _, written = raced
    page = " ".join(" ".join(Text(written.page.read_text()).words).split())
    monkeypatch.setenv("COLUMNS", "250")
    print_race(chosen, found)
    shown = capsys.readouterr().out
    for table in (outcomes(chosen, found), costs(chosen, found)):
        for line in table.lines:
            assert line.name in page
            assert line.name in shown
            assert all(cell in page and cell in shown for cell in line.cells)
        assert all(" ".join(title.split()) in page for title in table.titles)


def test_a_table_wider_than_the_terminal_comes_in_parts_with_the_names(raced, capsys, monkeypatch):
    chosen, found, *_ = raced
    monkeypatch.setenv("COLUMNS", "80")
    print_race(chosen, found)
    shown = capsys.readouterr().out.splitlines()[1:]
    assert all(len(line) <= 80 for line in shown)
    heads = [line for line in shown if line.startswith("  optimizer ")]
    assert len(heads) >= 3
    for row in found.rows:
        assert sum(line.startswith(f"  {row.name}  ") for line in shown) == len(heads)
        assert row.name in shown  # above its figures in the table that decides, which comes in one part
    decides = shown[shown.index("optimizer") + 1]
    assert decides.split("  ")[-1] == "verdict"
    for title in ("95 % interval", "verdict", "evaluations"):
        assert sum(title in head for head in (decides, *heads)) == 1


def test_trials_that_diverged_stand_beside_their_optimizer(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    chosen = race("digits", ["sgd(lr=0.1)", "sgd(lr=5000)"], model="linear", steps=20, seeds=2)
    record = open_record(chosen, tmp_path, False)
    found = run_to_end(chosen, record, ignore)
    well, badly = outcomes(chosen, found).lines
    assert (well.ended, badly.ended) == ("", "2 of 2 diverged")
    assert badly.cells == (*5 * ("–",), "not comparable: trials that diverged or failed: 2 here")
    print_race(chosen, found)
    assert "sgd(lr=5000)  2 of 2 diverged" in capsys.readouterr().out
    page = write([(chosen, found, record.finished, tmp_path)], tmp_path).page.read_text()
    assert '<span class="worse">2 of 2 diverged</span>' in page


@pytest.mark.parametrize(
    ("lr", "advice"), [("1,2", "Give --lr a wider range of factors."), ("auto", "Give more --trials.")]
)
def test_a_best_rate_on_the_edge_is_a_doubt_that_says_what_helps(lr, advice, tmp_path):
    chosen = race("digits", ["sgd(lr=0.0001)"], model="linear", steps=5, seeds=1, lr=lr, trials=2, tune_seeds=1)
    found = run_to_end(chosen, open_record(chosen, tmp_path, False), ignore)
    assert found.rows[0].lr_on_edge
    assert any(doubt.endswith(advice) for doubt in conclusions.doubts(chosen, found))


def test_legends_and_axes_hold_whole_names(tmp_path):
    long = "grad | e(alpha=-5, beta1=0.99) | lamb(lr=0.01, weight_decay=0.01)"
    chosen = race("digits", [long, "sgd(lr=0.1)"], model="linear", steps=2, seeds=3, controls=True)
    record = open_record(chosen, tmp_path, False)
    found = run_to_end(chosen, record, ignore)
    names = {entrant.name for entrant in chosen.entrants}
    assert f"{long}, without E" in names
    figure = pictures.curves(chosen, found, record.finished)
    (legend,) = figure.legends
    figure.canvas.draw()
    assert figure.bbox.x0 <= legend.get_window_extent().x0
    assert legend.get_window_extent().x1 <= figure.bbox.x1
    assert {text.get_text().replace("\n", " ") for text in legend.get_texts()} == names
    figure = pictures.differences(chosen, found)
    (axes,) = figure.axes
    assert {label.get_text().replace("\n", " ") for label in axes.get_yticklabels()} == names - {chosen.baseline}
    assert long in figure.get_supxlabel().replace("\n", " ")
    figure.canvas.draw()
    drawn, whole = figure._supxlabel.get_window_extent(), figure.bbox
    assert whole.x0 <= drawn.x0
    assert drawn.x1 <= whole.x1


def test_ids_of_pictures_on_one_page_are_all_different(raced):
    ids = re.findall(r'\bid="([^"]+)"', raced[3].page.read_text())
    assert len(ids) == len(set(ids))


def test_tables_hold_every_trial_and_checkpoint(raced):
    chosen, found, record, written = raced
    folder = written.page.parent
    trials = lines_of(folder / "trials.csv")
    assert len(trials) == len(record.finished) == len((folder / "trials.jsonl").read_text().splitlines())
    final = [line for line in trials if line["phase"] == "final" and line["optimizer"] == found.rows[0].name]
    assert sorted(int(line["seed"]) for line in final) == list(range(chosen.seeds))
    curves = lines_of(folder / "curves.csv")
    assert len(curves) == sum(len(trial["checkpoints"]) for trial in record.finished)
    rows = lines_of(folder / "results.csv")
    assert [line["optimizer"] for line in rows] == [row.name for row in found.rows]
    own = [(row.targets[0].steps, row.targets[0].seconds) for row in found.rows]
    said = [(line["steps_to_target"], line["seconds_to_target"]) for line in rows]
    assert said == [tuple("" if value is None else str(value) for value in pair) for pair in own]


def test_a_foreign_record_commands_neither_terminal_nor_spreadsheet(raced, tmp_path):
    _, _, record, _ = raced
    folder = tmp_path / "foreign"
    shutil.copytree(record.folder, folder)
    name = "=HYPERLINK(1)\x1b[31m\x9b2J\u202e"
    configuration = json.loads((folder / "race.json").read_text())
    before = configuration["entrants"][0]["name"]
    (folder / "race.json").write_text((folder / "race.json").read_text().replace(json.dumps(before), json.dumps(name)))
    assert run("report", str(folder))[0] == 0
    code, out, err = run("compare", "--resume", "--jobs", "1", "--out", str(folder))
    assert code == 0, err
    assert "HYPERLINK" in out
    assert not {"\x1b", "\x9b", "\u202e"} & {*out, *err}
    assert all(row["optimizer"][:1] != "=" for row in lines_of(folder / "results.csv"))
    assert f"'{name}" in {row["optimizer"] for row in lines_of(folder / "results.csv")}


def test_parquet_and_csv_agree(raced):
    parquet = pytest.importorskip("pyarrow.parquet")
    folder = raced[3].page.parent
    table = parquet.read_table(folder / "trials.parquet").to_pylist()
    lines = lines_of(folder / "trials.csv")
    assert [row["seed"] for row in table] == [int(line["seed"]) for line in lines]
    assert [row["train_loss"] for row in table] == [float(line["train_loss"]) for line in lines]


def test_conclusions_name_a_winner_only_where_a_row_does(raced):
    chosen, found, *_ = raced
    said = conclusions.conclusions(chosen, found)
    for row in found.rows:
        for effect in row.effects:
            if effect.against == chosen.baseline:
                (line,) = [line for line in said if line.startswith((f"{row.name} has", f"{row.name} and"))]
                assert ("no difference" in line) == (effect.verdict == "no difference shown")
    assert any(line.startswith("E in eadam(lr=0.01)") for line in said)


def test_one_seed_is_not_comparable_and_the_page_says_so(tmp_path):
    chosen = race("digits", ["sgd(lr=0.1)", "adam(lr=0.01)"], model="linear", steps=5, seeds=1)
    record = open_record(chosen, tmp_path, False)
    found = run_to_end(chosen, record, ignore)
    assert found.rows[1].effects[0].verdict == "not comparable"
    assert "nothing can be compared" in " ".join(conclusions.doubts(chosen, found))


def test_several_tasks_get_a_performance_profile(tmp_path):
    races = []
    for model in ("linear", "mlp"):
        chosen = race("digits", ["sgd(lr=0.1)", "adam(lr=0.01)"], model=model, steps=10, seeds=2)
        record = open_record(chosen, tmp_path / model, False)
        races.append((chosen, run_to_end(chosen, record, ignore), record.finished, tmp_path / model))
    written = write(races, tmp_path)
    assert tmp_path / "profile.png" in written.others
    assert "Performance profile" in written.page.read_text()


def test_unfinished_races_are_reported_as_such(raced, tmp_path):
    _, _, record, _ = raced
    shutil.copytree(record.folder, tmp_path / "part")
    lines = (tmp_path / "part" / "trials.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "part" / "trials.jsonl").write_text("".join(lines[:-2]))
    code, out, err = run("report", str(tmp_path / "part"))
    assert (code, out.strip()) == (0, str(tmp_path / "part" / "report.html"))
    assert "is not finished" in err
    assert "This race is not finished: " in (tmp_path / "part" / "report.html").read_text()
    assert "not finished" not in (record.folder / "report.html").read_text()


@pytest.mark.parametrize(
    ("content", "message"),
    [({}, "holds no race"), ({"race.json": "{}"}, "holds no race"), ({"race.json": "["}, "is not JSON")],
)
def test_folder_that_is_no_race_is_one_line(content, message, tmp_path):
    for name, text in content.items():
        (tmp_path / name).write_text(text)
    code, out, err = run("report", str(tmp_path))
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert message in err


def test_results_are_a_function_of_the_record(raced):
    chosen, found, record, _ = raced
    lines = (record.folder / "trials.jsonl").read_text().splitlines()
    assert results(chosen, [json.loads(line) for line in reversed(lines)]).rows == found.rows


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no Chromium here")
def test_the_page_renders_in_a_browser(raced, tmp_path):
    page = raced[3].page
    quiet = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
    words = ["chromium", "--headless", *quiet, f"--user-data-dir={tmp_path}", "--dump-dom", f"file://{page}"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    assert done.stdout.count("<svg") == 3
    picture = tmp_path / "page.png"
    words[-2:] = [f"--screenshot={picture}", "--window-size=1100,2400", f"file://{page}"]
    subprocess.run(words, capture_output=True, timeout=120, check=True)
    assert picture.stat().st_size > 30_000


def test_tensorboard_gets_every_checkpoint_of_the_final_trials(raced):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    chosen, found, record, _ = raced
    sinks.tensorboard(chosen, found, record.finished, record.folder)
    for name, trial in sinks.runs(chosen, found, record.finished):
        events = EventAccumulator(str(record.folder / "tensorboard" / name))
        events.Reload()
        written = [(event.step, event.value) for event in events.Scalars("validation_loss")]
        expected = [(point["steps"], point["validation_loss"]) for point in trial["checkpoints"]]
        assert written == [(step, pytest.approx(value, rel=1e-6)) for step, value in expected]


def test_final_trials_alone_are_exported(raced):
    chosen, found, record, _ = raced
    exported = list(sinks.runs(chosen, found, record.finished))
    assert len(exported) == len(found.rows) * chosen.seeds
    steps = [step for step, _ in sinks.scalars(exported[0][1])]
    assert steps == sorted(set(steps))


def test_a_viewer_that_fails_is_one_line(raced, monkeypatch):
    def refuse(*_):
        raise RuntimeError("No API key configured.\nUse `wandb login` to log in.")

    monkeypatch.setitem(sinks.SINKS, "wandb", refuse)
    with pytest.raises(EdslError, match=r"^wandb failed: No API key configured\.; the report itself is written$"):
        sinks.sink("wandb")(raced[0], raced[1], [], raced[2].folder)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_wandb_keeps_runs_offline(raced, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    chosen, found, record, _ = raced
    first = [trial for trial in record.finished if trial["seed"] == 0]
    sinks.wandb(chosen, found, first, record.folder)
    assert list((record.folder / "wandb").glob("offline-run-*"))


def test_unknown_viewer_is_one_line(raced):
    code, out, err = run("report", str(raced[2].folder), "--to", "tensorbord")
    assert (code, out) == (2, "")
    assert err.strip() == "edsl: unknown viewer 'tensorbord'; did you mean 'tensorboard'?"


def swept(spec, folder):
    entrants = sweep(spec, ["alpha=-5,5", "beta1=0.9,0.99"]).entrants
    chosen = race("digits", entrants, model="linear", steps=3, seeds=1, kind="sweep")
    return chosen, run_to_end(chosen, open_record(chosen, folder, False), lambda _: None)


def test_a_sweeps_runs_stand_on_the_map_of_what_is_stable(tmp_path):
    figure = stability(*swept("grad | e | sgd(lr=0.1)", tmp_path))
    axes = figure.axes[0]
    places = {(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines}
    assert places == {(alpha, beta1) for alpha in (-5, 5) for beta1 in (0.9, 0.99)}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("alpha", "beta1")


def test_no_map_is_drawn_of_what_has_no_linear_model(tmp_path):
    assert stability(*swept("alto", tmp_path)) is None
