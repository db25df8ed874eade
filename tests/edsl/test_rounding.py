"""State in bfloat16: rounded stochastically, right on average, alike in every mode."""

import copy
from itertools import product

import pytest
import torch
from problem import gradients, parameters, walk, worst

import edsl
from edsl.numerics.stochastic_rounding import key_of, rounded, words
from edsl.numerics.weights.form import REST, WEIGHT


def test_rounding_is_right_on_average_within_4_standard_errors():
    exact = 1 + 2**-10  # between 1 and 1 + 2⁻⁷: up once in 8
    draws = rounded(torch.full((100_000,), exact), torch.tensor(key_of("w", 3)), 0).double()
    assert set(draws.tolist()) == {1.0, 1 + 2**-7}
    assert abs(draws.mean() - exact) < 4 * draws.std() / 100_000**0.5


def test_rounding_differs_between_parameters_steps_and_buffers():
    x = torch.rand(1000)
    draws = [
        rounded(x, torch.tensor(key_of(n, k)), b) for n, k, b in [("a", 1, 0), ("b", 1, 0), ("a", 2, 0), ("a", 1, 1)]
    ]
    for i, one in enumerate(draws):
        assert all(0.3 < (one != other).float().mean() < 0.7 for other in draws[:i]) or i == 0


def test_noise_is_independent_between_elements_steps_and_buffers_as_far_as_sums_and_correlations_show():
    """Sums vary as binomial ones do, and no correlation is beyond 4.5 standard errors."""
    count, steps, places = 4096, 400, (0, 1, 2, REST, WEIGHT)
    keys = [torch.tensor(key_of("h.0.weight", k)) for k in range(steps)]
    noise = torch.stack([torch.stack([words((count,), key, place) for place in places]) for key in keys])
    up = noise >> 16 < 0x5555  # rounded up once in three: (steps, places, elements)
    share = 0x5555 / 2**16
    variance = up.sum(-1).double().var(0) / (count * share * (1 - share))
    assert (abs(variance - 1) < 4.5 * (2 / steps) ** 0.5).all(), variance
    u = (noise.double() + 0.5) / 2**32 - 0.5
    lags = (1, 2, 3, 4, 7, 8, 16, 64, 256, 768, 1024)
    pairs = [(u[..., lag:], u[..., :-lag]) for lag in lags] + [(u[lag:], u[:-lag]) for lag in lags[:6]]
    pairs += [(u[:, i], u[:, j]) for i in range(len(places)) for j in range(i)]
    found = [12 * (a * b).mean().item() * a.numel() ** 0.5 for a, b in pairs]
    assert max(map(abs, found)) < 4.5, found


def test_what_bfloat16_holds_stays_and_infinities_and_nan_too():
    exact = torch.tensor([0.0, -0.0, 1.5, -2.0, float("inf"), -float("inf")])
    kept = rounded(exact, torch.tensor(12345), 2)
    assert torch.equal(kept.float(), exact)
    assert rounded(torch.tensor([float("nan")] * 9), torch.tensor(5), 0).isnan().all()


@pytest.mark.parametrize(
    ("spec", "mode"),
    [
        *product(["alto", "grad | e(buffers=2) | adamw(lr=0.01) | caution"], ["compiled", "inductor"]),
        ("emuon", "compiled"),
        pytest.param("emuon", "inductor", marks=pytest.mark.slow),
    ],
)
def test_bfloat16_state_is_rounded_alike_compiled_and_eager(spec, mode):
    shapes = [(4, 3), (5, 70)]
    histories = []
    for one in (mode, "eager"):
        params = parameters(shapes, torch.float32)
        optimizer = edsl.compile(spec, params, mode=one, state_dtype="bfloat16")
        histories.append(walk(optimizer, params, gradients(5, shapes, torch.float32)))
    for a, b in zip(histories[0][-1], histories[1][-1], strict=True):
        assert (a - b).norm() <= (1e-2 if spec == "emuon" else 1e-5) * b.norm()


def test_a_slow_ema_in_bfloat16_reaches_the_mean_of_what_it_averages():
    params = [torch.nn.Parameter(torch.zeros(2000))]
    optimizer = edsl.compile("adam(lr=0, beta3=0.999)", params, state_dtype={"adam.v": "bfloat16"})
    ones = torch.ones(2000)
    walk(optimizer, params, [[ones]] * 2000)
    v = optimizer.state[params[0]]["adam.v"].double()
    exact = 1 - 0.999**2000
    assert abs(v.mean() - exact) < 0.01  # to the nearest it stops at 0.5, where a step is half of the last bit
    nearest = torch.zeros((), dtype=torch.bfloat16)
    for _ in range(2000):
        nearest = (0.999 * nearest.float() + 0.001).bfloat16()
    assert nearest < 0.6


def test_a_run_with_bfloat16_state_resumes_bit_for_bit():
    rows = gradients(8, dtype=torch.float32)
    params = parameters(dtype=torch.float32)
    optimizer = edsl.compile("alto", params, state_dtype="bfloat16")
    walk(optimizer, params, rows[:4])
    saved, values = copy.deepcopy(optimizer.state_dict()), [p.detach().clone() for p in params]
    undisturbed = walk(optimizer, params, rows[4:])
    twins = [torch.nn.Parameter(value) for value in values]
    twin = edsl.compile("alto", twins, state_dtype="bfloat16")
    twin.load_state_dict(saved)
    assert worst(walk(twin, twins, rows[4:]), undisturbed) == 0


def test_some_buffers_may_be_of_another_dtype():
    params = parameters(dtype=torch.float32)
    optimizer = edsl.compile("alto", params, state_dtype={"lamb.m": "bfloat16", "e.mean": torch.float16})
    walk(optimizer, params, gradients(2, dtype=torch.float32))
    dtypes = {name: buffer.dtype for name, buffer in optimizer.state[params[0]].items()}
    assert dtypes == {
        "step": torch.int64,
        "e.mean": torch.float16,
        "lamb.m": torch.bfloat16,
        "lamb.v": torch.float32,
    }


@pytest.mark.parametrize("bad", [{"lamb.w": "bfloat16"}, {"lamb.m": "int16"}, {3: "bfloat16"}])
def test_a_buffer_or_dtype_that_is_not_there_is_an_edsl_error(bad):
    with pytest.raises(edsl.EdslError, match="state_dtype"):
        edsl.compile("alto", parameters(), state_dtype=bad)
