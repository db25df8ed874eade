"""The contract, state: what it is, how it travels, and that a bad checkpoint changes nothing."""

import copy
import io
import pickle

import pytest
import torch
from harness import build, estimator, every_recipe, everything, same, take
from problem import parameters, worst
from torch import nn

import edsl

NAMES = ["a.weight", "b.bias", "c.bias"]


def through_a_file(state_dict):
    """The state_dict as it comes back from a file that was loaded with weights_only=True."""
    file = io.BytesIO()
    torch.save(state_dict, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def named(params, names=NAMES):
    return list(zip(names, params, strict=True))


@every_recipe
def test_state_is_keyed_by_parameters_and_holds_tensors_alone(recipe):
    params, optimizer = build(recipe)
    take(optimizer, params)
    first = {p: {key: type(value) for key, value in optimizer.state[p].items()} for p in params}
    take(optimizer, params, 2)
    assert set(map(id, optimizer.state)) == set(map(id, params))
    assert all(issubclass(kind, torch.Tensor) for kinds in first.values() for kind in kinds.values())
    assert first == {p: {key: type(value) for key, value in optimizer.state[p].items()} for p in params}


@every_recipe
@pytest.mark.parametrize("knows", ["saved", "loading", "both", "neither"])
def test_named_and_unnamed_checkpoints_are_exchanged(knows, recipe):
    params = parameters()
    _, optimizer = build(recipe, named(params) if knows in ("saved", "both") else params, exclude=())
    take(optimizer, params, 3)
    saved = through_a_file(optimizer.state_dict())
    twins = copy.deepcopy(params)
    _, twin = build(recipe, named(twins) if knows in ("loading", "both") else twins, exclude=())
    twin.load_state_dict(state_dict=saved)
    assert all(same(twin.state[q], optimizer.state[p]) for p, q in zip(params, twins, strict=True))
    resumed, undisturbed = take(twin, twins, 3, seed=7), take(optimizer, params, 3, seed=7)
    if not estimator(recipe).draws_directions:  # which depend on the parameter's name
        assert worst(resumed, undisturbed) == 0


@every_recipe
def test_parameters_whose_order_changed_are_found_by_name(recipe):
    params = parameters()
    _, optimizer = build(recipe, named(params))
    take(optimizer, params, 3)
    twins, order = copy.deepcopy(params), [2, 0, 1]
    _, twin = build(recipe, [named(twins)[i] for i in order])
    twin.load_state_dict(through_a_file(optimizer.state_dict()))
    assert all(same(twin.state[q], optimizer.state[p]) for p, q in zip(params, twins, strict=True))
    assert worst(take(twin, twins, 3, seed=7), take(optimizer, params, 3, seed=7)) <= 1e-15


@every_recipe
def test_other_names_are_taken_by_their_places(recipe):
    params = parameters()
    _, optimizer = build(recipe, named(params), exclude=())
    take(optimizer, params)
    twins = copy.deepcopy(params)
    _, twin = build(recipe, named(twins, ["x", "y", "z"]), exclude=())
    twin.load_state_dict(optimizer.state_dict())
    assert all(same(twin.state[q], optimizer.state[p]) for p, q in zip(params, twins, strict=True))


@every_recipe
def test_a_loaded_checkpoint_is_copied_and_left_as_it_was(recipe):
    params, optimizer = build(recipe)
    take(optimizer, params)
    saved = copy.deepcopy(optimizer.state_dict())
    kept = copy.deepcopy(saved)
    twins, twin = build(recipe)
    twin.load_state_dict(saved)
    take(twin, twins, 2)
    assert same(saved, kept)


@every_recipe
def test_a_checkpoint_takes_its_hyper_parameters_along_in_new_group_dicts(recipe):
    params, optimizer = build(recipe, lr=0.25, alpha=-0.5)
    take(optimizer, params)
    twins, twin = build(recipe)
    take(twin, twins)
    stale = twin.param_groups
    twin.load_state_dict(optimizer.state_dict())
    assert all(new is not old for new, old in zip(twin.param_groups, stale, strict=True))
    assert (twin.param_groups[0]["lr"], twin.param_groups[0]["alpha"]) == (0.25, -0.5)
    with torch.no_grad():
        for p, q in zip(params, twins, strict=True):
            q.copy_(p)
    assert worst(take(twin, twins, 2), take(optimizer, params, 2)) == 0


@every_recipe
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_fp32_state_of_half_parameters_keeps_its_bits_and_dtype(dtype, recipe):
    shapes = [(4, 3), (7,)]
    wide = {"sigma": 0.1} if recipe.startswith("ezo") else {}
    params, optimizer = build(recipe, parameters(shapes, dtype), **wide)
    take(optimizer, params, 2)
    twins, twin = build(recipe, copy.deepcopy(params), **wide)
    twin.load_state_dict(through_a_file(optimizer.state_dict()))
    assert same(everything(twin, twins), everything(optimizer, params))
    buffers = [value for state in twin.state.values() for key, value in state.items() if key != "step"]
    assert all(buffer.dtype == torch.float32 for buffer in buffers)


@every_recipe
def test_pickle_and_deepcopy_survive_and_go_on_alike(recipe):
    params, optimizer = build(recipe)
    take(optimizer, params, 2)
    copies = [copy.deepcopy((params, optimizer)), pickle.loads(pickle.dumps((params, optimizer)))]
    expected = take(optimizer, params, 2, seed=7)
    for twins, twin in copies:
        assert type(twin) is type(optimizer)
        assert (twin.mode, str(twin.pipeline)) == ("eager", str(optimizer.pipeline))
        assert worst(take(twin, twins, 2, seed=7), expected) == 0


@every_recipe
def test_setstate_with_a_partial_dict_replaces_that_part_alone(recipe):
    params, optimizer = build(recipe)
    take(optimizer, params, 2)
    twins, twin = build(recipe, copy.deepcopy(params))
    state = {q: copy.deepcopy(optimizer.state[p]) for p, q in zip(params, twins, strict=True)}
    twin.__setstate__({"state": state, "param_groups": twin.param_groups})
    assert worst(take(twin, twins, 2, seed=7), take(optimizer, params, 2, seed=7)) == 0


@every_recipe
def test_a_checkpoint_loads_again_and_into_copies(recipe):
    params, optimizer = build(recipe)
    take(optimizer, params, 2)
    saved = copy.deepcopy(optimizer.state_dict())
    for _ in range(2):
        optimizer.load_state_dict(copy.deepcopy(saved))
        assert same(optimizer.state_dict(), saved)
    twin = copy.deepcopy(optimizer)
    twin.load_state_dict(copy.deepcopy(saved))
    assert same(twin.state_dict(), saved)


@every_recipe
def test_a_checkpoint_from_before_the_first_step_loads(recipe):
    _, optimizer = build(recipe, lr=0.25)
    twins, twin = build(recipe)
    take(twin, twins, 2)
    twin.load_state_dict(through_a_file(optimizer.state_dict()))
    assert not twin.state
    assert twin.param_groups[0]["lr"] == 0.25


@every_recipe
def test_state_moved_to_another_dtype_is_taken_back_by_loading(recipe):
    params, optimizer = build(recipe)
    take(optimizer, params)
    floats, other = build(recipe, [nn.Parameter(p.detach().float()) for p in params])
    other.load_state_dict(optimizer.state_dict())
    buffers = [value for state in other.state.values() for key, value in state.items() if key != "step"]
    assert all(buffer.dtype == torch.float32 for buffer in buffers)
    take(other, floats)


@every_recipe
def test_another_recipes_checkpoint_is_an_error_that_names_both_and_changes_nothing(recipe):
    params, optimizer = build(recipe)
    take(optimizer, params)
    before = everything(optimizer, params)
    strangers, stranger = build("lion" if recipe != "elion" else "alto")
    take(stranger, strangers)
    with pytest.raises(edsl.EdslError, match=r"(?s)this checkpoint is of: .*this optimizer is: ") as error:
        optimizer.load_state_dict(stranger.state_dict())
    assert str(optimizer.pipeline) in str(error.value)
    assert same(everything(optimizer, params), before)


@every_recipe
def test_torchs_own_checkpoint_is_an_error_and_changes_nothing(recipe):
    params, optimizer = build(recipe)
    take(optimizer, params)
    before = everything(optimizer, params)
    theirs = torch.optim.AdamW([{"params": list(group["params"])} for group in optimizer.param_groups])
    with pytest.raises(edsl.EdslError, match="not from an edsl optimizer"):
        optimizer.load_state_dict(theirs.state_dict())
    assert same(everything(optimizer, params), before)


def change_group(**values):
    return lambda saved: saved["param_groups"][0].update(**values)


def change_buffer(change):
    def changed(saved):
        state = saved["state"][0]
        name = list(state)[-1]
        state[name] = change(state[name])

    return changed


def change_step(value):
    return lambda saved: saved["state"][0].update(step=value)


DAMAGE = {
    "no state": lambda saved: saved.pop("state"),
    "no groups": lambda saved: saved.pop("param_groups"),
    "groups none": lambda saved: saved.update(param_groups=None),
    "a group none": lambda saved: saved["param_groups"].__setitem__(0, None),
    "state a list": lambda saved: saved.update(state=[]),
    "no lr": lambda saved: saved["param_groups"][0].pop("lr"),
    "lr negative": change_group(lr=-1.0),
    "lr of two": change_group(lr=torch.ones(2)),
    "exclude a number": change_group(exclude=3),
    "more names than parameters": change_group(param_names=["a"] * 9),
    "pipeline missing": lambda saved: saved["param_groups"][0].pop("pipeline"),
    "pipeline rubbish": change_group(pipeline="rubbish"),
    "params of texts": lambda saved: saved["param_groups"][0].update(
        params=["a" for _ in saved["param_groups"][0]["params"]]
    ),
    "params twice": lambda saved: saved["param_groups"][0]["params"].append(0),
    "params of others": lambda saved: saved["param_groups"][0].update(
        params=[n + 9 for n in saved["param_groups"][0]["params"]]
    ),
    "a state of nobody": lambda saved: saved["state"].update({99: saved["state"][0]}),
    "a state none": lambda saved: saved["state"].update({0: None}),
    "a buffer missing": lambda saved: saved["state"][0].popitem(),
    "a buffer cut short": change_buffer(lambda buffer: buffer.flatten()[:-1]),
    "a buffer of text": change_buffer(lambda buffer: "rubbish"),
    "a buffer of whole numbers": change_buffer(lambda buffer: buffer.long()),
    "a buffer without memory": change_buffer(lambda buffer: buffer.to("meta")),
    "a sparse buffer": change_buffer(lambda buffer: buffer.to_sparse()),
    "a step of text": change_step("three"),
    "a step below 0": change_step(torch.tensor(-1.0)),
    "a step of a half": change_step(torch.tensor(2.5)),
    "a step that is no number": change_step(torch.tensor(float("nan"))),
    "a step of two": change_step(torch.ones(2)),
}


@every_recipe
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_tampered_checkpoint_is_an_edsl_error_and_changes_nothing(damage, recipe):
    params, optimizer = build(recipe)
    take(optimizer, params)
    saved = copy.deepcopy(optimizer.state_dict())
    DAMAGE[damage](saved)
    before = everything(optimizer, params)
    with pytest.raises(edsl.EdslError):
        optimizer.load_state_dict(saved)
    assert same(everything(optimizer, params), before)
    take(optimizer, params)


@every_recipe
@pytest.mark.parametrize("given", [None, "text", 3, [], {}])
def test_what_is_no_checkpoint_at_all_is_an_edsl_error_and_changes_nothing(given, recipe):
    params, optimizer = build(recipe)
    take(optimizer, params)
    before = everything(optimizer, params)
    with pytest.raises(edsl.EdslError, match="not an optimizer's state_dict"):
        optimizer.load_state_dict(given)
    assert same(everything(optimizer, params), before)


@every_recipe
def test_a_checkpoint_of_other_sizes_is_torchs_error_and_changes_nothing(recipe):
    params, optimizer = build(recipe)
    take(optimizer, params)
    saved, before = optimizer.state_dict(), everything(optimizer, params)
    empty = {**saved["param_groups"][-1], "params": []}
    more = {"state": {}, "param_groups": [*saved["param_groups"], empty]}
    smaller = {"state": {}, "param_groups": [{**group, "params": []} for group in saved["param_groups"]]}
    for other, said in ((more, "a different number of parameter groups"), (smaller, "doesn't match the size")):
        with pytest.raises(ValueError, match=said):
            optimizer.load_state_dict(other)
        assert same(everything(optimizer, params), before)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_never_reaches_the_optimizer(share, tmp_path):
    params, optimizer = build("alto")
    take(optimizer, params)
    place = tmp_path / "optimizer.pt"
    torch.save(optimizer.state_dict(), place)
    whole = place.read_bytes()
    place.write_bytes(whole[: int(share * len(whole))])
    before = everything(optimizer, params)
    with pytest.raises((RuntimeError, EOFError, OSError, pickle.UnpicklingError)):
        optimizer.load_state_dict(torch.load(place, weights_only=True))
    assert same(everything(optimizer, params), before)
