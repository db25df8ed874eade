"""Text ⇄ Pipeline: what is read, how it prints, and that nothing else gets through."""

import pickle

import hypothesis.strategies as st
import pytest
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
    "grad | e(-5) | sgd": (9, "arguments are given by name"),
    "sgd(**x)": (4, "without **"),
    "grad | e(beta1=1.2) | sgd": (9, "e: beta1 must lie in [0, 1), got 1.2"),
    "grad | e(alpha=200) | sgd": (9, "|alpha| must be less than 1/(1 - beta1) = 100, got alpha=200"),
    "sgd(lr=-1)": (4, "sgd: lr must lie in [0, ∞), got -1"),
    "sgd(lr=1e999)": (4, "sgd: lr must be a finite number, got inf"),
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
    "os.system(x=1)": (0, "a dotted name is an optimizer of torch and torch_optimizer, got os.system"),
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
    "torch.AdamW(lr=-1)": (0, "torch.AdamW refuses these arguments: Invalid learning rate: -1"),
    "torch_optimizer.Lambda()": (0, "did you mean 'Lamb'?"),
}


@pytest.mark.parametrize("text", ERRORS)
def test_bad_spec_is_told_with_a_caret_under_the_place(text):
    place, part = ERRORS[text]
    with pytest.raises(SpecError) as caught:
        edsl.parse(text)
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


@settings(max_examples=10_000, deadline=None, database=None)
@given(st.one_of(st.text(max_size=60), st.lists(WORDS, max_size=25).map("".join), st.lists(WORDS).map(" ".join)))
def test_10_000_texts_give_a_pipeline_or_an_edsl_error(text):
    try:
        pipeline = edsl.parse(text)
    except EdslError:
        pass
    else:
        assert edsl.parse(str(pipeline)) == pipeline


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
