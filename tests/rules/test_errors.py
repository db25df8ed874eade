"""Every mistake in a rule is one message that says what to do, its line, and a caret under the place."""
# ruff: noqa: E501 (rules in a line)

from __future__ import annotations

import pytest

import edsl
from edsl.language.rules import names
from edsl.language.rules.texts import load_rules

HEAD = "@update\ndef a(u, *, lr=0.1, beta: decay = 0.9, fast=True, way: choice('x', 'y') = 'x', n: whole = 3):\n"
BODIES = {
    "m = ema(m, u, beta)\n    return -lr * mm": "mm is read and never assigned; did you mean 'm'?",
    "if fast:\n        m = ema(m, u, beta)\n    return -lr * m": "m is read and never assigned (with fast=False)",
    "return -lr * squirt(u)": "unknown function or stage squirt; did you mean 'sqrt'?",
    "theta = u\n    return u": "a local can't be called theta",
    "lr = 2\n    return u": "lr is a hyper-parameter",
    "beta.x = 1\n    return u": "a rule has no attributes",
    "u += 1\n    return u": "write the name twice",
    "for i in u:\n        pass\n    return u": "a rule has no loops",
    "return u if fast else -u": "write an if statement",
    "return u > 0": "a comparison stands only in where",
    "return where(u, u, u)": "where asks one comparison",
    "return where(0 < u < 1, u, u)": "where asks one comparison",
    "return lambda: u": "a rule has no lambda",
    "if beta:\n        return u\n    return -u": "beta is a number: an if asks a switch",
    "if way == 'z':\n        return u\n    return -u": "way is 'x' or 'y', got 'z'",
    "if way:\n        return u\n    return -u": "way is 'x' or 'y', got no option",
    "if slow:\n        return u\n    return -u": "an if asks a switch or a choice of the signature, got slow",
    "if fast and fast:\n        return u\n    return -u": "an if asks a switch",
    "return fast * u": "fast is no number: ask it with if",
    "if fast:\n        return u": "a returns nothing (with fast=False)",
    "m = u": "a returns nothing",
    "return u\n    m = u": "nothing can follow a return",
    "x = y = u\n    return x": "assign one name at a time",
    "x, y = u\n    return x": "write as many values as names",
    "return every(beta, u, u)": "every: argument 1 must be a whole number",
    "return ema(u, u)": "ema takes 3 arguments, got 2",
    "return sqrt(x=u)": "sqrt takes its arguments without names",
    "return theta() * u": "theta is a value: write it without brackets",
    "return adam(u, lr=u)": "an argument of adam is of numbers and hyper-parameters",
    "return adam(u, beta9=1)": "adam: unknown argument beta9; did you mean",
    "return adam(u, beta2=2)": "adam: beta2 must lie in [0, 1), got 2",
    "return adam(u, betas=(0.9,))": "adam: betas must be 2 values",
    "return adam(u, lr=lr, lr=lr)": "adam: lr is given twice",
    "return adam(u, 3)": "a stage runs on one value",
    "return direction(adam(u, lr=lr))": "direction sets lr itself",
    "return direction(e(u))": "direction is of an update, and e is an adaptor",
    "return direction(u)": "direction is of one update",
    "return grad(u)": "grad can't run within a rule: it is an estimator",
    "return route(u)": "route can't run within a rule: it takes stages",
    "return guard(u)": "guard can't run within a rule",
    "return 10 ** 400 * u": "this is no finite number",
    "return 9 ** 9 ** 9 * u": "this is no finite number",
    "return u / 0 * (1 / 0)": "this is no finite number",
    "return 10.0 ** (200 * n) * u": "n make what is no finite number",
    "return a(u)": "a rule can't run itself: a calls a",
    "return 'x'": "expected a value, got 'x'",
    "return": "return a value",
    "import os\n    return u": "got an import",
}
SIGNATURES = {
    "def a(u):\n    return u": "say what a is: write @adaptor, @update or @wrapper above it",
    "@upgrade\ndef a(u):\n    return u": "unknown kind; did you mean 'update'?",
    "@adaptor\n@update\ndef a(u):\n    return u": "a is of one kind",
    "@update\ndef a(u):\n    return u": "an update has a learning rate",
    "@adaptor\ndef a(u, v):\n    return u": "a takes one value, then * and its hyper-parameters",
    "@adaptor\ndef a(u, *, b):\n    return u": "b needs a default",
    "@adaptor\ndef a(u, *, b: decal = 0.9):\n    return u": "b has the unknown domain 'decal'; did you mean 'decay'?",
    "@adaptor\ndef a(u, *, b: decay = 1):\n    return u": "the default of b must lie in [0, 1), got 1",
    "@adaptor\ndef a(u, *, b: within(2, 1) = 1):\n    return u": "the smaller first",
    "@adaptor\ndef a(u, *, b='x'):\n    return u": "a text needs its options",
    "@adaptor\ndef a(u, *, b=None):\n    return u": "got None",
    "@adaptor\ndef a(u, *args):\n    return u": "a rule takes no *args",
    "@adaptor\ndef a(u, *, step=1):\n    return u": "a hyper-parameter can't be called step",
    "@adaptor\ndef a(u, *, params=1):\n    return u": "a hyper-parameter can't be called params",
    "@adaptor\ndef a(u, *, _b=1):\n    return u": "without _ in front",
    "@adaptor\ndef a(u, *, b__c=1):\n    return u": "__ within",
    "@adaptor\ndef norm(u):\n    return u": "a rule can't be called norm, a word of the language",
    "@wrapper\ndef a(u, *, lr=1):\n    return u": "a hyper-parameter can't be called lr",
    "@adaptor\ndef a(u):\n    'nothing'": "a returns nothing",
    "@adaptor\ndef a(u):\n    return u\n@adaptor\ndef a(u):\n    return -u": "a is defined twice",
    "@adaptor\ndef a(u):\n    return b(u)\n@adaptor\ndef b(u):\n    return a(u)": "a rule can't run itself: a calls b calls a",
    "@adaptor\ndef a(u):\n    return decay(u)": "decay is a wrapper: an adaptor has no step to wrap",
    "@adaptor\nclass A:\n    pass": "expected a rule such as @update def name",
}


def refused(text: str) -> str:
    with pytest.raises(edsl.EdslError) as caught:
        edsl.parse(text)
    said = str(caught.value)
    assert said.endswith("^")
    assert "(line " in said
    assert said.splitlines()[0].startswith(said.partition(" (line")[0])
    return said


@pytest.mark.parametrize("body", BODIES)
def test_mistake_in_a_body_is_told_with_line_and_caret(body):
    assert BODIES[body] in refused(f"{HEAD}    {body}\na")


@pytest.mark.parametrize("definition", SIGNATURES)
def test_mistake_in_a_signature_is_told_with_line_and_caret(definition):
    assert SIGNATURES[definition] in refused(f"{definition}\ngrad | sgd")


def test_caret_stands_under_the_mistake():
    said = refused("@adaptor\ndef a(u):\n    wide = 2 * u\n    return wide + widee\n\ngrad | a | sgd")
    message, line, caret = said.splitlines()
    assert message.endswith("(line 4)")
    assert line[caret.index("^") :] == "widee"


def test_text_needs_a_pipeline_and_nothing_after_it():
    rule = "@adaptor\ndef a(u):\n    return u\n"
    with pytest.raises(edsl.EdslError, match=r"the text ends without a pipeline: add a last line .* \(line 4\)$"):
        edsl.parse(rule)  # nothing stands there that a caret could point to
    assert "nothing can follow it" in refused(f"{rule}grad | a | sgd\ngrad | sgd")


def test_mistake_in_the_pipeline_behind_rules_is_told_as_in_a_spec():
    with pytest.raises(edsl.EdslError, match="unknown stage 'halve'; did you mean 'halved'") as caught:
        edsl.parse("@adaptor\ndef halved(u):\n    return u\ngrad | halve | sgd")
    assert str(caught.value).endswith("^")


def test_sizes_are_limited():
    switches = ", ".join(f"s{i}=False" for i in range(9))
    asks = "".join(f"    if s{i}:\n        u = -u\n" for i in range(9))
    assert "at most 256" in refused(f"@adaptor\ndef a(u, *, {switches}):\n{asks}    return u\ngrad | a | sgd")
    assert "at most 2000 parts" in refused(
        "@adaptor\ndef a(u):\n" + "    u = u + u\n" * 700 + "    return u\ngrad | a | sgd"
    )
    assert "nested more than 30 deep" in refused(f"@adaptor\ndef a(u):\n    return {'-' * 40}u\ngrad | a | sgd")
    double = "@adaptor\ndef a0(u):\n    return e(u)\n"
    double += "".join(f"@adaptor\ndef a{i + 1}(u):\n    return a{i}(a{i}(u))\n" for i in range(8))
    assert "at most 64" in refused(f"{double}grad | a8 | sgd")
    many = "".join(f"@adaptor\ndef a{i}(u):\n    return u\n" for i in range(65))
    assert "at most 64 rules" in refused(f"{many}grad | a0 | sgd")


def test_files_of_rules_own_new_names_alone_and_texts_come_first(tmp_path, monkeypatch):
    monkeypatch.setattr(names, "_loaded", {})
    (tmp_path / "one.edsl").write_text("@adaptor\ndef halved(u):\n    return u / 2\n")
    (tmp_path / "two.edsl").write_text("@adaptor\ndef doubled(u):\n    return halved(u) * 4\n")
    (tmp_path / "readme.txt").write_text("nothing")
    assert load_rules(tmp_path / "one.edsl") == ("halved",)
    assert load_rules(tmp_path) == ("halved", "doubled")
    pipeline = edsl.parse("grad | doubled | sgd(lr=0.1)")
    assert "def halved" in str(pipeline)
    monkeypatch.setattr(names, "_loaded", {})
    assert edsl.parse(str(pipeline)) == pipeline  # the text carries them
    taken = tmp_path / "taken.edsl"
    taken.write_text("@update\ndef adam(u, *, lr=1):\n    return -lr * u\n")
    with pytest.raises(edsl.EdslError, match="the name 'adam' is taken"):
        load_rules(taken)
    own = edsl.parse(f"{taken.read_text()}\nadam")
    assert own != edsl.parse("adam")
    assert str(own).startswith("@update\ndef adam")
    for bad, said in (("none.edsl", "no such file"), (".", "expected a regular file")):
        with pytest.raises(edsl.EdslError, match=said):
            load_rules(tmp_path / bad if bad != "." else "/dev/null")
    (tmp_path / "empty").mkdir()
    with pytest.raises(edsl.EdslError, match=r"holds no file NAME\.edsl"):
        load_rules(tmp_path / "empty")


def test_two_rules_of_one_name_are_not_joined():
    one = edsl.parse("@adaptor\ndef a(u):\n    return u\ngrad | a | sgd").stages[1]
    other = edsl.parse("@adaptor\ndef a(u):\n    return -u\ngrad | a | sgd").stages[1]
    with pytest.raises(edsl.EdslError, match="two rules are called a"):
        edsl.grad() | one | other | edsl.sgd()


def test_rule_that_reads_the_hessian_needs_an_estimator_of_it():
    rule = "@adaptor\ndef a(u):\n    return u / (abs(hessian) + 1)\n"
    with pytest.raises(edsl.EdslError, match="a reads the Hessian's diagonal, which grad does not estimate"):
        edsl.parse(f"{rule}grad | a | sgd")
    assert edsl.parse(f"{rule}hutchinson | a | sgd").line.startswith("hutchinson | a |")


def test_rule_and_edsls_own_stage_of_one_name_are_not_joined(tmp_path, monkeypatch):
    rule = "@update\ndef adam(u, *, lr=1):\n    return -lr * u\n"
    own = edsl.parse(f"{rule}grad | direction(adam) | sgd").stages[1]
    with pytest.raises(edsl.EdslError, match="adam is a rule, and edsl's own adam stands beside it"):
        edsl.grad() | own | edsl.adam()
    with pytest.raises(edsl.EdslError, match="adam is a rule, and edsl's own adam stands beside it"):
        edsl.grad() | own | edsl.direction(edsl.adam()) | edsl.sgd()
    monkeypatch.setattr(names, "_loaded", {})
    (tmp_path / "one.edsl").write_text("@update\ndef halved(u, *, lr=1):\n    return adam(u, lr=lr / 2)\n")
    load_rules(tmp_path / "one.edsl")
    with pytest.raises(edsl.EdslError, match="adam is a rule, and edsl's own adam stands beside it"):
        edsl.parse(f"{rule}@update\ndef b(u, *, lr=1):\n    return halved(u) + adam(u)\nb")
