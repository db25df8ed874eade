"""Param groups as their owner makes and edits them: rates of routes, names that go with tensors, ZeRO's one group."""

import copy
import gc
import pickle
import weakref

import pytest
import torch
from problem import gradients, parameters, walk, worst
from torch import nn
from torch.optim import lr_scheduler

import edsl

RATES = {"lr": 0.05, "other_lr": 0.004}


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(5, 4)
        self.inner = nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)
        self.out = nn.Linear(4, 3)
        self.double()

    def forward(self, rows):
        return self.out(self.norm(self.inner(self.embed(rows)).tanh()))


def train(optimizer, model, steps=3, after=lambda: None):
    """Steps on a loss that every weight matters to; the weights after them."""
    for step in range(steps):
        optimizer.zero_grad()
        torch.manual_seed(step)
        model(torch.randint(5, (7,))).sub(1).square().mean().backward()
        optimizer.step()
        after()
    return [p.detach().clone() for p in model.parameters()]


def rates(optimizer):
    return {name: group["lr"] for group in optimizer.param_groups for name in group["param_names"]}


SCHEDULERS = {
    "lambda": lambda o: lr_scheduler.LambdaLR(o, lambda k: 0.5**k),
    "multiplicative": lambda o: lr_scheduler.MultiplicativeLR(o, lambda k: 0.5),
    "step": lambda o: lr_scheduler.StepLR(o, 1, 0.5),
    "multistep": lambda o: lr_scheduler.MultiStepLR(o, [1, 2], 0.5),
    "constant": lambda o: lr_scheduler.ConstantLR(o, 0.5, 2),
    "linear": lambda o: lr_scheduler.LinearLR(o, 0.1, total_iters=3),
    "exponential": lambda o: lr_scheduler.ExponentialLR(o, 0.5),
    "polynomial": lambda o: lr_scheduler.PolynomialLR(o, 5),
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, 5),
    "restarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 2),
    "sequential": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, 0.1, total_iters=1), lr_scheduler.ExponentialLR(o, 0.5)], [1]
    ),
    "chained": lambda o: lr_scheduler.ChainedScheduler([lr_scheduler.ExponentialLR(o, 0.5)]),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_keeps_the_proportion_of_two_routes_rates(name):
    model = Model()
    optimizer = edsl.compile("emuon", model, mode="eager", **RATES)
    scheduler = SCHEDULERS[name](optimizer)
    factors = []

    def after():
        scheduler.step()
        matrix, other = (group["lr"] for group in optimizer.param_groups)
        factors.append(matrix / 0.05)
        assert other / 0.004 == pytest.approx(matrix / 0.05)

    train(optimizer, model, 3, after)
    assert any(factor != 1 for factor in factors)


@pytest.mark.parametrize("split", [False, True])
def test_a_groups_rates_mean_what_the_keywords_do(split):
    """In one group for all, and in one for each parameter."""
    ours, theirs = Model(), Model()
    named = list(ours.named_parameters())
    groups = [{"params": [pair], **RATES} for pair in named] if split else [{"params": named, **RATES}]
    grouped = edsl.compile("emuon", groups, mode="eager")
    by_keyword = edsl.compile("emuon", theirs.named_parameters(), mode="eager", **RATES)
    assert rates(grouped) == rates(by_keyword)
    assert worst([train(grouped, ours)], [train(by_keyword, theirs)]) == 0


def test_the_first_routes_rate_in_a_group_leaves_the_others_alone():
    model = Model()
    optimizer = edsl.compile("emuon", [{"params": list(model.named_parameters()), "lr": 0.5}], mode="eager")
    assert rates(optimizer)["inner.weight"] == 0.5
    assert rates(optimizer)["inner.bias"] == edsl.parse("adamw").update.lr


def test_a_group_of_one_route_gives_that_routes_rate_under_either_name():
    model = Model()
    optimizer = edsl.compile("emuon", model.inner.named_parameters(), mode="eager")
    optimizer.add_param_group({"params": list(model.norm.named_parameters()), "lr": 0.3})
    optimizer.add_param_group({"params": [("out.bias", model.out.bias)], "other_lr": 0.2, "lr": 0.1})
    optimizer.add_param_group({"params": [("embed.bias", nn.Parameter(torch.ones(2)))], "betas": (0.5, 0.6)})
    assert [group["lr"] for group in optimizer.param_groups[2:]] == [0.3, 0.2, 0.001]
    assert [group["route"] for group in optimizer.param_groups[2:]] == ["other"] * 3
    assert (optimizer.param_groups[-1]["beta2"], optimizer.param_groups[-1]["beta3"]) == (0.5, 0.6)


def test_rates_survive_state_dict_pickle_and_deepcopy():
    model = Model()
    optimizer = edsl.compile("emuon", model, mode="eager", **RATES)
    train(optimizer, model)
    expected = rates(optimizer)
    twin_model = copy.deepcopy(model)
    twin = edsl.compile("emuon", twin_model, mode="eager")
    twin.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert rates(twin) == expected
    copied_model, copied = copy.deepcopy((model, optimizer))
    pickled_model, pickled = pickle.loads(pickle.dumps((model, optimizer)))
    ahead = train(optimizer, model)
    for one, its in ((twin, twin_model), (copied, copied_model), (pickled, pickled_model)):
        assert rates(one) == expected
        assert worst([train(one, its)], [ahead]) == 0


@pytest.mark.parametrize("mode", ["eager", "compiled"])
@pytest.mark.parametrize(
    ("name", "value", "there"),
    [("betas", (0.8, 0.9), "beta2 and beta3"), ("beta1", 0.8, "beta2"), ("eps", 1e-6, "eps1")],
)
def test_a_synonym_written_into_a_group_is_refused_instead_of_ignored(mode, name, value, there):
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = edsl.compile("adamw(lr=0.1)", [weight], mode=mode)
    for _ in range(4):  # the last of them are replayed
        weight.grad = torch.ones(3)
        optimizer.step()
    before = weight.detach().clone()
    optimizer.param_groups[0][name] = value
    with pytest.raises(edsl.EdslError, match=f"a step does not read {name}; set {there}"):
        optimizer.step()
    assert torch.equal(weight, before)
    del optimizer.param_groups[0][name]
    optimizer.step()
    assert not torch.equal(weight, before)


def test_another_packages_betas_are_its_own():
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = edsl.compile("grad | e | torch.AdamW(lr=0.1)", [weight], mode="eager")
    weight.grad = torch.ones(3)
    optimizer.param_groups[0]["betas"] = (0.8, 0.9)
    optimizer.step()


@pytest.mark.parametrize(
    ("spec", "given", "said"),
    [
        ("adamw", {"weight_decya": 0.1}, "unknown hyper-parameter 'weight_decya'; did you mean 'weight_decay'"),
        (
            "grad | e(buffers=2) | sgd",
            {"buffers": 1},
            "buffers is fixed once the optimizer is built; write it in the spec",
        ),
        ("adamw", {"beta1": 0.8}, r"are beta2, beta3 here: write betas=\(0.8, 0.999\)"),
        ("route(matrix=muon, other=adamw)", {"other_beta1": 0.8}, r"write other_betas=\(0.8, 0.999\)"),
        ("route(matrix=muon, other=sgd)", {"other_betas": (0.8, 0.9)}, "unknown argument 'other_betas'"),
        ("route(matrix=muon, other=adamw)", {"beta1": 0.8}, "are beta2, beta3 here"),  # of one route alone
        ("sgd", {"beta1": 0.8}, "unknown argument 'beta1'"),
        ("sgd", {"betas": (0.9, 0.99)}, "unknown argument 'betas'"),
        ("sgd", {"eps": 1e-8}, "unknown argument 'eps'"),
    ],
)
def test_a_name_that_no_step_reads_is_an_error_where_a_hyper_parameter_was_meant(spec, given, said):
    with pytest.raises(edsl.EdslError, match=said):
        edsl.compile(spec, [{"params": [torch.nn.Parameter(torch.ones(3))], **given}])


def test_a_value_that_is_no_number_is_an_error_that_says_of_which_group():
    weights = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
    optimizer = edsl.compile("adamw", [{"params": [weight]} for weight in weights], mode="eager")
    for weight in weights:
        weight.grad = torch.ones(3)
    optimizer.param_groups[1]["lr"] = "high"
    with pytest.raises(edsl.EdslError, match="param group 1: lr must be a number, got 'high'"):
        optimizer.step()


def test_an_unknown_or_fixed_name_in_a_group_is_one_line():
    def build(**given):
        edsl.compile("emuon", [{"params": parameters(), **given}])

    with pytest.raises(edsl.EdslError, match="did you mean 'other_lr'"):
        build(othr_lr=1)
    with pytest.raises(edsl.EdslError, match="other_beta2 is given twice"):
        build(other_betas=(0.9, 0.99), other_beta2=0.9)
    with pytest.raises(edsl.EdslError, match="beta2 is a name on the route other; write other_beta2"):
        build(beta2=0.9)
    with pytest.raises(edsl.EdslError, match="betas is a name on the route other; write other_beta2 and other_beta3"):
        build(betas=(0.9, 0.99))
    with pytest.raises(edsl.EdslError, match="steps is fixed"):
        build(steps=3)
    with pytest.raises(edsl.EdslError, match=r"lr must lie in \[0, ∞\)"):
        build(other_lr=-1)
    with pytest.raises(edsl.EdslError, match="other_lr belongs to another route"):
        build(route="matrix", other_lr=1)


def decayed(model, optimizer):
    """The names of the parameters that a step with a gradient of zero moves: those that decay."""
    for p in model.parameters():
        nn.init.ones_(p)
        p.grad = torch.zeros_like(p)
    optimizer.step()
    return {name for name, p in model.named_parameters() if (p != 1).any()}


def decaying(params, mode="eager"):
    return edsl.compile("adamw(lr=0.1, weight_decay=0.5)", params, mode=mode)


@pytest.mark.parametrize("mode", ["eager", "compiled"])
@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("steps", [0, 1, 4])
def test_a_filtered_list_decays_by_the_names_of_what_it_holds(named, steps, mode):
    model = Model()
    optimizer = decaying(model.named_parameters() if named else model, mode)
    for _ in range(steps):
        decayed(model, optimizer)
    group = optimizer.param_groups[0]
    group["params"] = [p for p in group["params"] if p is not model.embed.weight]
    assert decayed(model, optimizer) == {"inner.weight", "out.weight"}
    assert group["param_names"] == [name for name, _ in model.named_parameters() if name != "embed.weight"]


@pytest.mark.parametrize("order", ["reversed", "two groups", "moved"])
def test_names_go_with_tensors_wherever_they_are_put(order):
    model = Model()
    optimizer = decaying(model)
    decayed(model, optimizer)
    group = optimizer.param_groups[0]
    if order == "reversed":
        group["params"].reverse()
    elif order == "two groups":
        optimizer.param_groups.append({**group, "params": group["params"][::2]})
        group["params"] = group["params"][1::2]
    else:
        extra = nn.Parameter(torch.ones(2, dtype=torch.float64))
        optimizer.add_param_group({"params": [("extra", extra)], "weight_decay": 0.1})
        optimizer.param_groups[1]["params"].append(group["params"].pop(2))  # inner.bias
    assert decayed(model, optimizer) == {"embed.weight", "inner.weight", "out.weight"}
    assert decayed(model, optimizer) == {"embed.weight", "inner.weight", "out.weight"}
    for one in optimizer.param_groups:
        own = {id(p): name for name, p in model.named_parameters()}
        assert all(own.get(id(p), "extra") == name for p, name in zip(one["params"], one["param_names"], strict=True))


def test_an_appended_tensor_trains_as_the_module_names_it():
    model = Model()
    optimizer = decaying(model)
    decayed(model, optimizer)
    model.late = nn.Linear(2, 2).double()
    optimizer.param_groups[0]["params"] += model.late.parameters()
    assert decayed(model, optimizer) == {"embed.weight", "inner.weight", "out.weight", "late.weight"}
    assert optimizer.param_groups[0]["param_names"][-2:] == ["late.weight", "late.bias"]
    assert len(optimizer.state) == len(list(model.parameters()))


def test_an_appended_tensor_without_a_known_name_decays_as_bare_tensors_do():
    model = Model()
    optimizer = decaying(model.named_parameters())
    stranger = nn.Parameter(torch.ones(3, dtype=torch.float64))
    optimizer.param_groups[0]["params"].append(stranger)
    stranger.grad = torch.zeros_like(stranger)
    optimizer.step()
    assert (stranger < 1).all()
    assert optimizer.param_groups[0]["param_names"][-1] == "0.7"


def test_names_and_tensors_that_are_edited_together_are_taken_as_they_are_told():
    model = Model()
    optimizer = decaying(model)
    decayed(model, optimizer)
    group = optimizer.param_groups[0]
    group["params"], group["param_names"] = group["params"][2:], group["param_names"][2:]
    assert decayed(model, optimizer) == {"out.weight"}


def test_what_a_group_excludes_by_hand_stays_so_when_it_is_edited():
    model = Model()
    optimizer = decaying(model)
    decayed(model, optimizer)
    group = optimizer.param_groups[0]
    group["exclude"] = ()
    group["params"] = group["params"][1:]
    assert decayed(model, optimizer) == {name for name, _ in model.named_parameters()} - {"embed.weight"}


def test_an_edited_list_saves_and_resumes_under_the_right_names():
    model = Model()
    optimizer = decaying(model)
    train(optimizer, model)
    optimizer.param_groups[0]["params"] = optimizer.param_groups[0]["params"][1:]
    saved = optimizer.state
    saved.pop(model.embed.weight)
    checkpoint = copy.deepcopy(optimizer.state_dict())
    assert checkpoint["param_groups"][0]["param_names"][0] == "inner.weight"
    twin_model = copy.deepcopy(model)
    twin = decaying([(name, p) for name, p in twin_model.named_parameters() if name != "embed.weight"])
    twin.load_state_dict(checkpoint)
    copied_model, copied = copy.deepcopy((model, optimizer))
    expected = train(optimizer, model)
    assert worst([train(twin, twin_model)], [expected]) == 0
    assert worst([train(copied, copied_model)], [expected]) == 0


def test_names_hold_no_tensors():
    model = Model()
    optimizer = decaying(model)
    decayed(model, optimizer)
    gone = [weakref.ref(p) for p in model.embed.parameters()]
    optimizer.param_groups[0]["params"] = optimizer.param_groups[0]["params"][1:]
    optimizer.state.pop(model.embed.weight)
    optimizer.engine.names.follow(optimizer.param_groups)
    alive = weakref.ref(model)
    names = optimizer.engine.names
    del model, optimizer
    gc.collect()
    assert [one() for one in gone] == [None]
    assert alive() is None
    assert len(names._known) == 0


@pytest.mark.parametrize("spec", ["emuon", "adamw(lr=0.1, weight_decay=0.5)", "grad | noise(std=0.1) | sgd"])
def test_parameters_swapped_for_placeholders_and_back_keep_their_names(spec):
    """As Accelerate does before it shards a model: tensors of one element, then the new parameters."""
    model, twin_model = Model(), Model()
    optimizer, twin = (edsl.compile(spec, one, mode="eager") for one in (model, twin_model))
    old = [list(group["params"]) for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        for place, p in enumerate(group["params"]):
            group["params"][place] = torch.empty(1, dtype=p.dtype)
    assert optimizer.state_dict()["param_groups"][0]["param_names"] == twin.param_groups[0]["param_names"]
    new = {p: nn.Parameter(p.detach().clone()) for p in model.parameters()}
    for layer in model.modules():
        for name, p in list(layer.named_parameters(recurse=False)):
            setattr(layer, name, new[p])
    for group, before in zip(optimizer.param_groups, old, strict=True):
        group["params"] = [new[p] for p in before]
    assert worst([train(optimizer, model)], [train(twin, twin_model)]) == 0
    assert rates(optimizer) == rates(twin)
    assert optimizer.param_groups[0]["param_names"] == twin.param_groups[0]["param_names"]


def test_groups_of_a_routed_pipeline_may_be_removed_and_reordered():
    """Each goes on as it would alone."""
    model, twin_model = Model(), Model()
    optimizer, twin = (edsl.compile("emuon", one, mode="eager", **RATES) for one in (model, twin_model))
    train(optimizer, model)
    train(twin, twin_model)
    optimizer.param_groups.reverse()
    assert worst([train(optimizer, model)], [train(twin, twin_model)]) == 0
    removed = optimizer.param_groups.pop()
    assert removed["route"] == "matrix"
    before = model.inner.weight.detach().clone()
    train(optimizer, model)
    assert torch.equal(model.inner.weight, before)
    optimizer.param_groups.insert(0, removed)
    train(optimizer, model)
    assert not torch.equal(model.inner.weight, before)


@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_groups_removed_and_reordered_keep_their_values(mode):
    params = parameters()
    rows = gradients(9)

    def build():
        own = copy.deepcopy(params)
        groups = [{"params": [p], "lr": 0.1 * (i + 1), "beta1": 0.1 * i} for i, p in enumerate(own)]
        return own, edsl.compile("grad | e(alpha=-0.5, beta1=0.5) | adam", groups, mode=mode)

    ours, optimizer = build()
    theirs, twin = build()
    walk(optimizer, ours, rows[:4])
    walk(twin, theirs, rows[:4])
    optimizer.param_groups.reverse()
    assert worst(walk(optimizer, ours, rows[4:]), walk(twin, theirs, rows[4:])) == 0


@pytest.mark.parametrize("spec", ["adamw", "emuon", "muon", "grad | e | torch.AdamW"])
@pytest.mark.parametrize("dtype", [torch.int8, torch.complex64, torch.float8_e4m3fn])
def test_a_frozen_parameter_may_be_of_any_kind(spec, dtype):
    model = nn.Module()
    model.frozen = nn.Parameter(torch.zeros(3, 3).to(dtype), requires_grad=False)
    model.frozen_vector = nn.Parameter(torch.zeros(3).to(dtype), requires_grad=False)
    model.weight = nn.Parameter(torch.ones(3, 3))
    optimizer = edsl.compile(spec, model, mode="eager", lr=0.1)
    model.weight.grad = torch.eye(3)
    optimizer.step()
    assert (model.weight.diagonal() < 1).all()
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.step()
    assert len(optimizer.state) == 1


def test_a_parameter_that_is_unfrozen_is_checked_when_it_has_a_gradient():
    model = nn.Module()
    model.weight = nn.Parameter(torch.zeros(3, dtype=torch.complex64), requires_grad=False)
    model.bias = nn.Parameter(torch.zeros(3))
    optimizer = edsl.compile("adamw", model, mode="eager")
    model.weight.requires_grad_()
    model.weight.grad = torch.zeros(3, dtype=torch.complex64)
    with pytest.raises(edsl.EdslError, match="parameter weight is complex"):
        optimizer.step()


def test_a_submodules_unnamed_tensors_join_an_optimizer_built_from_the_module():
    """As Lightning's BackboneFinetuning adds them."""
    model = Model()
    optimizer = decaying(model.out)
    optimizer.add_param_group({"params": list(model.inner.parameters()), "lr": 0.2})
    assert optimizer.param_groups[1]["param_names"] == ["1.0", "1.1"]  # which its module, the head, does not know
    assert decayed(model, optimizer) == {"out.weight", "inner.weight", "inner.bias"}

    model = Model()
    for p in model.inner.parameters():
        p.requires_grad_(False)
    optimizer = decaying(model)
    kept = [p for p in model.parameters() if p.requires_grad]
    optimizer.param_groups[0]["params"] = kept
    decayed(model, optimizer)
    for p in model.inner.parameters():
        p.requires_grad_(True)
    optimizer.add_param_group({"params": model.inner.parameters(), "lr": 0.2})
    assert optimizer.param_groups[1]["param_names"] == ["inner.weight", "inner.bias"]
    assert decayed(model, optimizer) == {"embed.weight", "inner.weight", "out.weight"}


def test_all_groups_may_go_and_others_come():
    model = Model()
    optimizer = decaying(model)
    decayed(model, optimizer)
    optimizer.param_groups.clear()
    optimizer.add_param_group({"params": model.parameters()})
    assert decayed(model, optimizer) == {"embed.weight", "inner.weight", "out.weight"}


def test_unnamed_tensors_of_a_routed_module_take_their_routes_by_its_names():
    model = Model()
    optimizer = edsl.compile("route(embedding=lion, matrix=muon, other=adamw)", model, mode="eager")
    model.late = nn.Embedding(4, 4)
    optimizer.add_param_group({"params": model.late.parameters()})
    assert optimizer.param_groups[-1]["route"] == "embedding"


def test_torchs_error_for_named_and_unnamed_groups_stands_where_the_user_gave_the_names():
    model = Model()
    optimizer = edsl.compile("adamw", model.inner.named_parameters(), mode="eager")
    with pytest.raises(ValueError, match="with/without names"):
        optimizer.add_param_group({"params": model.out.parameters()})


@pytest.fixture
def one_process(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


in_one_process = pytest.mark.usefixtures("one_process")
past_torchs_own = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # as ZeRO is imported


def of_zero(model, spec="emuon", **options):
    from torch.distributed.optim import ZeroRedundancyOptimizer

    given = {"spec": spec, "mode": "eager", **RATES, **options}
    return ZeroRedundancyOptimizer(model.parameters(), edsl.PipelineOptimizer, **given)


@in_one_process
@past_torchs_own
@pytest.mark.parametrize("name", [None, "lambda", "linear", "sequential", "restarts"])
def test_zero_redundancy_steps_the_routes_of_its_one_group_under_a_scheduler(name):
    """Its scheduler knows one lr; both routes' rates follow it, as the scheduler of two groups has it."""
    ours, theirs = Model(), Model()
    zero = of_zero(ours)
    plain = edsl.compile("emuon", list(theirs.parameters()), mode="eager", **RATES)
    steps = [lambda: None, lambda: None] if name is None else [SCHEDULERS[name](o).step for o in (zero, plain)]
    assert len(zero.param_groups) == 1
    assert worst([train(zero, ours, 3, steps[0])], [train(plain, theirs, 3, steps[1])]) <= 1e-12


@in_one_process
@past_torchs_own
@pytest.mark.parametrize(
    "spec",
    ["emuon", "grad(accumulate=2) | guard | e | route(matrix=shampoo(every=2), other=clip(norm=1) | adamw)"],
)
def test_zero_redundancy_resumes_a_routed_pipeline_bit_for_bit(spec):
    model = Model()
    zero = of_zero(model, spec)
    train(zero, model)
    zero.param_groups[0]["lr"], zero.param_groups[0]["other_lr"] = 0.02, 0.001
    train(zero, model)
    zero.consolidate_state_dict()
    twin_model = copy.deepcopy(model)
    twin = of_zero(twin_model, spec)
    twin.load_state_dict(copy.deepcopy(zero.state_dict()))
    copied_model, copied = copy.deepcopy((model, zero.optim))
    expected = train(zero, model)
    assert worst([train(twin, twin_model)], [expected]) == 0
    assert worst([train(copied, copied_model)], [expected]) == 0


@in_one_process
@past_torchs_own
def test_zero_redundancy_adds_groups_to_a_routed_pipeline():
    from torch.distributed.optim import ZeroRedundancyOptimizer

    model = Model()
    layers = [{"params": list(layer.parameters())} for layer in (model.embed, model.norm, model.out)]
    zero = ZeroRedundancyOptimizer(layers, edsl.EMuon, mode="eager", **RATES)
    zero.add_param_group({"params": list(model.inner.parameters()), "other_lr": 0.5})
    assert [group["lr"] for group in zero.param_groups] == [0.05] * 4
    assert [group["other_lr"] for group in zero.param_groups] == [0.004] * 3 + [0.5]
    train(zero, model)
    with pytest.raises(edsl.EdslError, match=r"lr must lie in \[0, ∞\)"):
        zero.add_param_group({"params": [nn.Parameter(torch.ones(2, 2))], "other_lr": -1})
