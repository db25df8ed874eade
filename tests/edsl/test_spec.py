"""Text ⇄ Pipeline: what is read, how it prints, and that nothing else gets through."""

import copy
import pickle
import warnings

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

import edsl
from edsl.errors import EdslError, SpecError

ERRORS = {
    # text: (place of the caret, part of the message)
    "": (0, "the spec is empty"),
    "   ": (0, "the spec is empty"),
    "grad | foo | sgd": (7, "unknown stage 'foo'"),
    "grad | lamv(lr=0.1)": (7, "did you mean 'lamb'?"),
    "grad | e(alfa=1) | sgd": (9, "e: unknown argument 'alfa'; did you mean 'alpha'?"),
    "sgd(lr=1, lr=2)": (10, "sgd: lr is given twice"),
    "adam(betas=(0.9, 0.99), beta2=0.9)": (24, "beta2 is given twice, as betas and as beta2"),
    "adam(betas=0.9)": (5, "betas must be a pair (beta2, beta3), got 0.9"),
    "sgd(eps=1)": (4, "sgd: unknown argument 'eps'"),
    "adamw(fused=True)": (6, "adamw: unknown argument 'fused'; leave it out: it says how torch computes a step"),
    "adamw(amsgrad=True)": (6, "adamw: unknown argument 'amsgrad'; it is an update of its own here: amsgrad(lr=0.001)"),
    "grad | e(-5) | sgd": (9, "arguments are given by name"),
    "sgd(**x)": (4, "without **"),
    "grad | e(beta1=1.2) | sgd": (9, "e: beta1 must lie in [0, 1), got 1.2"),
    "grad | e(alpha=200) | sgd": (9, "|alpha| must be less than 1/(1 - beta1) = 100, got alpha=200"),
    "sgd(lr=-1)": (4, "sgd: lr must lie in [0, ∞), got -1"),
    "sgd(lr=1e999)": (7, "1e999 is too large for a float"),
    "grad | e(alpha=-1e-400) | sgd": (16, "1e-400 is too small for a float, which would be 0"),
    "route()": (0, "route: needs at least one kind of parameter with its update, such as matrix=muon"),
    "route(matrix='muon(lr=1)', other=adamw)": (13, "write a stage without quotes, got 'muon(lr=1)'"),
    "grad | 'e' | sgd": (7, "write a stage without quotes, got 'e'"),
    "sgd(lr='fast')": (4, "sgd: lr must be a number, got 'fast'"),
    "sgd(lr=True)": (4, "sgd: lr must be a number, got True"),
    "sgd(nesterov=1)": (4, "sgd: nesterov must be True or False, got 1"),
    "sgd(nesterov=True)": (0, "nesterov=True needs momentum > 0"),
    "grad | clip | sgd": (7, "clip: give norm=… (of all gradients together) or value=… (of each element)"),
    "lamb(m_reads='x')": (5, "m_reads must be 'u' or 'g', got 'x'"),
    "grad | noise(seed=-1) | sgd": (13, "seed must be a whole number from 0"),
    "grad | sgd | e": (13, "e (adaptor) can't follow sgd (base update)"),
    "e | sgd": (0, "no estimator: begin the pipeline with grad"),
    "grad | grad | sgd": (7, "two estimators"),
    "grad | e": (7, "no base update"),
    "grad": (0, "no base update"),
    "sgd | adam": (6, "two base updates, sgd and adam"),
    "grad | (e | sgd": (7, "'(' was never closed"),
    "grad | e) | sgd": (8, "unmatched ')'"),
    "grad || sgd": (6, "invalid syntax"),
    "alto(batch_size=0)": (5, "batch_size must be a whole number from 1"),
    "lamb(batch_size=64)": (5, "lamb: unknown argument 'batch_size'"),
    "os.system(x=1)": (0, "a dotted name is an optimizer of torch, torch_optimizer, "),
    "__import__('os')": (0, "unknown stage '__import__'"),
    "torch.optim.Adam()": (0, "expected a stage such as e(alpha=-5), got an attribute"),
    "lambda: 1": (0, "expected a stage such as e(alpha=-5), got a lambda"),
    "grad | 3": (7, "got a bare value"),
    "sgd(lr=print)": (7, "a value is a number, a string, True, False or None, got the name 'print'"),
    "sgd(lr=1+1)": (7, "got an arithmetic expression"),
    "sgd(lr=(lambda: 1)())": (7, "got a call"),
    "sgd # fast": (4, "a spec has no comments"),
    "sgd(lr=\x001)": (7, "no control characters"),
    "torch.Nope(lr=1)": (0, "torch has no optimizer 'Nope'"),
    "torch.AdamW(learning_rate=1)": (12, "torch.AdamW: unknown argument 'learning_rate'"),
    "torch.AdamW(lr=-1)": (0, "torch.AdamW rejected these arguments: Invalid learning rate: -1"),
    "torch_optimizer.Lambda()": (0, "did you mean 'Lamb'?"),
}


@pytest.mark.parametrize("text", ERRORS)
def test_bad_spec_is_told_with_a_caret_under_the_place(text):
    place, part = ERRORS[text]
    with pytest.raises(SpecError) as caught:
        edsl.parse(text)
    if not text.strip():  # a caret would point to nothing
        assert part in str(caught.value)
        assert "\n" not in str(caught.value)
        return
    message, shown, caret = str(caught.value).split("\n")
    assert part in message
    assert caret == " " * (4 + place) + "^"
    assert len(shown) == 4 + len(text)


def test_caret_counts_characters_where_python_counts_bytes():
    with pytest.raises(SpecError) as caught:
        edsl.parse("  sgd(average='é', nope=1)")
    assert caught.value.place == 19


def test_long_spec_is_shown_around_the_caret_only():
    with pytest.raises(SpecError) as caught:
        edsl.parse("grad | " + "e | " * 40 + "nope")
    assert all(len(line) < 90 for line in str(caught.value).split("\n")[1:])


def test_spec_error_survives_pickling():
    with pytest.raises(SpecError) as caught:
        edsl.parse("nope")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("grad|e|sgd", "grad | e(alpha=-5, beta1=0.99) | sgd(lr=0.001, momentum=0, weight_decay=0)"),
        ("sgd", "grad | sgd(lr=0.001, momentum=0, weight_decay=0)"),
        ("grad | (e() | sgd())", "grad | e(alpha=-5, beta1=0.99) | sgd(lr=0.001, momentum=0, weight_decay=0)"),
        ("grad |\n  sgd(\n    lr=1e-1)\n", "grad | sgd(lr=0.1, momentum=0, weight_decay=0)"),
        ("adam(betas=(.8, .9), eps=1)", "grad | adam(lr=0.001, beta2=0.8, beta3=0.9, weight_decay=0, eps1=1)"),
        ("esgd(lr=1, momentum=0)", "grad | e(alpha=-5, beta1=0.99) | sgd(lr=1, momentum=0, weight_decay=0)"),
        ("esgd(batch_size=64)", "grad | e(alpha=0.5, beta1=0.01) | sgd(lr=0.001, momentum=0.9, weight_decay=0)"),
        ("torch.SGD(lr=0.1, nesterov=False)", "grad | torch.SGD(lr=0.1, nesterov=False)"),
        (
            "grad | clip(norm=1) | esgd(alpha=-3, batch_size=4096)",
            "grad | clip(norm=1) | e(alpha=-3, beta1=0.99) | sgd(lr=0.001, momentum=0.9, weight_decay=0)",
        ),
    ],
)
def test_canonical_form(text, canonical):
    assert str(edsl.parse(text)) == canonical
    assert edsl.parse(canonical) == edsl.parse(text)


def test_fingerprint_is_of_the_meaning_not_of_the_spelling():
    assert edsl.parse("alto").fingerprint == edsl.parse("grad|e(beta1=.99,alpha=-5)|lamb(lr=1e-2)").fingerprint
    assert edsl.parse("alto").fingerprint != edsl.parse("alto(lr=0.02)").fingerprint
    assert len(edsl.parse("alto").fingerprint) == 8


def test_python_builds_the_same_pipeline_as_text():
    built = edsl.grad() | edsl.e(alpha=-5, beta1=0.99) | edsl.lamb(lr=0.01)
    assert built == edsl.parse("grad | e(alpha=-5, beta1=0.99) | lamb(lr=0.01)")
    assert edsl.grad() | (edsl.e() | edsl.lamb()) == built
    assert edsl.alto(lr=0.01) == built
    assert edsl.adam(betas=(0.8, 0.9), eps=1).eps1 == 1


@pytest.mark.parametrize(
    "build",
    [
        lambda: edsl.lamb() | edsl.e(),
        lambda: edsl.lamb() | edsl.adam(),
        lambda: edsl.e() | edsl.grad(),
        lambda: edsl.e() | "lamb",
        lambda: edsl.e(alpha=100),
        lambda: edsl.lamb(learning_rate=1),
        lambda: edsl.Pipeline(()),
        lambda: edsl.Pipeline((edsl.grad(), edsl.e())),
        lambda: edsl.parse(None),
        lambda: edsl.alto(batch_size="large"),
        lambda: edsl.parse("alto").override(gamma=1),
    ],
)
def test_wrong_pipeline_in_python_is_an_edsl_error(build):
    with pytest.raises(EdslError):
        build()


def test_unchecked_lifts_the_bound_on_alpha_with_a_warning():
    with pytest.warns(edsl.EdslWarning, match="outside the paper's bound"):
        assert edsl.e(alpha=-200, unchecked=True).alpha == -200


def test_second_stage_of_a_kind_has_names_of_its_own():
    pipeline = edsl.parse("grad | e | e(alpha=0.5, beta1=0.1) | sgd(lr=0.1)")
    assert pipeline.labels == ("grad", "e", "e_2", "sgd")
    names = ("alpha", "beta1", "e_2.alpha", "e_2.beta1")
    assert tuple(pipeline.hyperparameters[name] for name in names) == (-5, 0.99, 0.5, 0.1)
    assert pipeline.override(**{"e_2.alpha": 1}).stages[2].alpha == 1


HOSTILE = [
    "-" * 9990 + "1",
    "(" * 9000,
    "a." * 4000 + "a",
    "|".join("e" * 900),
    "not " * 2400 + "a",
    "lambda:" * 1400 + "1",
    "f(a=" * 2000,
    "a" + "[0]" * 3000,
    "1+" * 4900 + "1",
    "sgd(lr=" + "-" * 9000 + "1)",
    "sgd(lr=" + "9" * 5000 + ")",
    "sgd(lr=" + "9" * 400 + ")",
    "x" * 1_000_000,
    "\ud800",
    "f'{" * 1000,
    "sgd(lr=1_0.0_1j)",
    "sgd(average=b'x')",
    "sgd(lr=...)",
    "sgd(lr={1})",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_is_a_spec_error(text):
    with pytest.raises(SpecError):
        edsl.parse(text)


VOCABULARY = """
    grad e clip noise sgd adam adamw lamb alto esgd torch torch_optimizer .AdamW .Lamb .__class__ | ( ) , = - + *
    lr alpha beta1 betas eps norm value momentum nesterov batch_size True None 'u' 0.9 -5 1e999 0x1f 1_000 [ ] { }
    lambda : not if else for in await ** # ; \\ " ' é 𝔢 __import__ eval ...
"""
WORDS = st.sampled_from([*VOCABULARY.split(), "\n", "\t", "\x00", " "])


TEXTS = st.one_of(st.text(max_size=60), st.lists(WORDS, max_size=25).map("".join), st.lists(WORDS).map(" ".join))


def give_a_pipeline_or_an_edsl_error(text):
    try:
        pipeline = edsl.parse(text)
    except EdslError:
        pass
    else:
        assert edsl.parse(str(pipeline)) == pipeline


@settings(max_examples=3_000, deadline=None, database=None)
@given(TEXTS)
def test_3_000_texts_give_a_pipeline_or_an_edsl_error(text):
    give_a_pipeline_or_an_edsl_error(text)


@pytest.mark.slow
@settings(max_examples=20_000, deadline=None, database=None)
@given(TEXTS)
def test_20_000_texts_give_a_pipeline_or_an_edsl_error(text):
    give_a_pipeline_or_an_edsl_error(text)


NUMBERS = st.floats(0, 0.999, allow_nan=False)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.builds(lambda a, b: edsl.e(alpha=a, beta1=b), st.floats(-0.99, 0.99), NUMBERS),
            st.builds(lambda n: edsl.clip(norm=n), st.floats(1e-300, 1e300)),
            st.builds(lambda s, k: edsl.noise(std=s, seed=k), st.floats(0, 1e308), st.integers(0, 2**63 - 1)),
        ),
        max_size=5,
    ),
    st.one_of(
        st.builds(lambda x, y: edsl.lamb(lr=x, beta2=y, layerwise=False), st.floats(0, 1e308), NUMBERS),
        st.builds(lambda x, y: edsl.sgd(lr=x, momentum=y, average="ema"), st.floats(0, 1e308), NUMBERS),
    ),
)
def test_any_pipeline_parses_back_from_its_text(adaptors, update):
    pipeline = edsl.Pipeline((edsl.grad(), *adaptors, update))
    assert edsl.parse(str(pipeline)) == pipeline


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("adam(beta1=0.9)", "Adam's (β₁, β₂) are beta2, beta3 here: write betas=(0.9, 0.999)"),
        ("grad | e | adamw(beta1=0.8, beta2=0.95)", "AdamW's (β₁, β₂) are beta2, beta3 here: write betas=(0.8, 0.95)"),
        ("lion(beta1=0.95)", "Lion's (β₁, β₂) are beta2, beta3 here: write betas=(0.95, 0.99)"),
        ("adan(beta1=0.9)", "Adan's (β₁, β₂, β₃) are beta2, beta4, beta3 here: write betas=(0.9, 0.92, 0.99)"),
        ("soap(beta1=0.9)", "Soap's (β₁, β₂) are beta2, beta3 here: write betas=(0.9, 0.95)"),
        ("emuon(other_beta1=0.9)", "are other_beta2, other_beta3 here: write other_betas=(0.9, 0.999)"),
    ],
)
def test_adams_letters_are_answered_with_what_to_write(text, written):
    with pytest.raises(EdslError) as raised:
        edsl.parse(text)
    assert written in str(raised.value).splitlines()[0]
    suggested = written.split("write ")[1]
    edsl.parse(f"{text[: text.rindex('(')]}({suggested})")


def test_betas_are_in_the_order_of_the_updates_own_paper():
    adan = edsl.adan(betas=(0.98, 0.92, 0.99))
    assert (adan.beta2, adan.beta4, adan.beta3) == (0.98, 0.92, 0.99)
    assert edsl.parse("route(matrix=muon, other=adan)").override(other_betas=(0.1, 0.2, 0.3)) == edsl.parse(
        "route(matrix=muon, other=adan(beta2=0.1, beta4=0.2, beta3=0.3))"
    )


DISORDERED = [
    *("adam(beta2=0.999)", "adamw(beta2=0.9999)", "lamb(beta3=0.5)", "soap(beta2=0.99)", "adan(beta3=0.5)"),
    *("grad | e | adabelief(beta2=0.9995)", "hutchinson | adahessian(beta3=0.1)", "emuon(other_beta2=0.9999)"),
]
ORDERED = [
    *("adam", "soap", "adam(beta2=0.5, beta3=0.5)", "lion(beta2=0.999)", "rmsprop(beta3=0.1)", "sgd(momentum=0.9)"),
    *("adam(betas=(0.95, 0.9))", "eadam(betas=(0.95, 0.9))", "emuon(other_betas=(0.9, 0.1))"),
]


def build(spec, **given):
    return edsl.compile(spec, [torch.nn.Parameter(torch.ones(2, 2))], mode="eager", **given)


@pytest.mark.parametrize("text", DISORDERED)
def test_moments_in_the_wrong_order_are_told_once_at_the_users_line(text):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        optimizer = build(text)
        optimizer.load_state_dict(optimizer.state_dict())
        copy.deepcopy(optimizer)
    (one,) = told
    assert issubclass(one.category, edsl.EdslWarning)
    assert one.filename == __file__
    assert "(β₁, β₂" in str(one.message)


@pytest.mark.parametrize("text", ORDERED)
def test_moments_in_order_or_written_as_betas_are_not_doubted(text):
    build(text)
    build(text, lr=0.1)
    build(edsl.parse(text))


def test_an_override_is_doubted_as_the_text_is():
    with pytest.warns(edsl.EdslWarning, match=r"beta2=0\.9999 is not below beta3=0\.999"):
        build(edsl.adam(), beta2=0.9999)
    build("adam", betas=(0.9999, 0.999))
    build(edsl.adam(betas=(0.9999, 0.999)), lr=0.1)


def test_a_lifted_bound_is_told_once_where_it_is_written():
    spec = "grad | e(alpha=-200, unchecked=True) | sgd"
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for line in (lambda: build(spec), lambda: edsl.e(alpha=-200, unchecked=True), lambda: edsl.parse(spec)):
            del told[:]
            line()
            assert [(one.filename, "outside the paper's bound" in str(one.message)) for one in told] == [
                (__file__, True)
            ]
        del told[:]
        pipeline = edsl.parse(spec)
        del told[:]
        optimizer = build(pipeline)
        for parameter in optimizer.param_groups[0]["params"]:
            parameter.grad = torch.ones_like(parameter)
        for alpha in (-200, -300, -400):
            optimizer.param_groups[0]["alpha"] = alpha
            optimizer.step()
        optimizer.load_state_dict(optimizer.state_dict())
        assert not told
