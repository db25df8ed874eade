"""`route`: each parameter goes to exactly one update."""

import copy
import pickle

import pytest
import torch
from problem import gradients, parameters, walk, worst
from torch import nn

import edsl


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.blocks = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.norm = nn.LayerNorm(4)
        self.kernel = nn.Conv2d(1, 2, 3)
        self.out = nn.Linear(4, 3)


def routes(spec, params):
    """The route of each parameter, by name."""
    optimizer = edsl.compile(spec, params, mode="eager")
    found = [(name, group["route"]) for group in optimizer.param_groups for name in group["param_names"]]
    assert len(found) == len(dict(found)), "a parameter is in two groups"
    return dict(found)


def test_parameters_go_by_rank():
    found = routes("route(matrix=muon, vector=adamw)", Model())
    assert {name for name, route in found.items() if route == "vector"} == {
        name for name in found if name.endswith("bias") or name == "norm.weight"
    }
    assert found["kernel.weight"] == "matrix"


def test_parameters_go_by_the_kind_of_module_that_owns_them():
    found = routes("route(embedding=sgd, norm=adam, head=lion, other=adamw)", Model())
    assert found["embed.weight"] == "embedding"
    assert found["norm.weight"] == found["norm.bias"] == "norm"
    assert found["out.weight"] == found["out.bias"] == "head"
    assert found["blocks.0.weight"] == found["kernel.bias"] == "other"


@pytest.mark.parametrize("other_way_round", [False, True])
def test_the_more_specific_route_wins_whatever_the_order(other_way_round):
    kinds = ["matrix=muon", "embedding=sgd", "other=adamw"]
    text = f"route(('blocks.1.*', lion), {', '.join(reversed(kinds) if other_way_round else kinds)})"
    found = routes(text, Model())
    assert found["blocks.1.weight"] == found["blocks.1.bias"] == "blocks.1.*"
    assert found["embed.weight"] == "embedding"
    assert found["blocks.0.weight"] == found["kernel.weight"] == found["out.weight"] == "matrix"
    assert found["norm.weight"] == found["blocks.0.bias"] == "other"


def test_the_first_of_two_patterns_that_match_wins():
    found = routes("route(('blocks.*', lion), ('*.weight', sgd), other=adamw)", Model().named_parameters())
    assert found["blocks.0.weight"] == "blocks.*"
    assert found["out.weight"] == "*.weight"
    assert found["out.bias"] == "other"


def test_routes_step_as_optimizers_of_their_own_would():
    rows = gradients(20)
    ours, theirs = parameters(), parameters()
    routed = walk(edsl.compile("grad | e | route(matrix=lion(lr=0.1), other=adam)", ours, mode="eager"), ours, rows)
    matrix = edsl.compile("grad | e | lion(lr=0.1)", theirs[:1], mode="eager")
    other = edsl.compile("grad | e | adam", theirs[1:], mode="eager")
    first = walk(matrix, theirs[:1], [row[:1] for row in rows])
    rest = walk(other, theirs[1:], [row[1:] for row in rows])
    assert worst(routed, [a + b for a, b in zip(first, rest, strict=True)]) == 0


def test_a_norm_over_all_parameters_reaches_over_routes():
    rows = gradients(5)
    ours, theirs = parameters(), parameters()
    spec = "grad | clip(norm=0.1) | {}"
    routed = walk(edsl.compile(spec.format("route(matrix=sgd, other=sgd)"), ours, mode="eager"), ours, rows)
    plain = walk(edsl.compile(spec.format("sgd"), theirs, mode="eager"), theirs, rows)
    assert worst(routed, plain) == 0


def test_a_norm_behind_a_route_is_over_the_routes_own_parameters_wherever_it_stands():
    def steps(spec):
        matrix, vector = torch.nn.Parameter(torch.zeros(3, 3)), torch.nn.Parameter(torch.zeros(4))
        optimizer = edsl.compile(spec, [matrix, vector], mode="eager")
        matrix.grad, vector.grad = torch.ones(3, 3), torch.full((4,), 2.0)  # norms 3 and 4
        optimizer.step()
        return -matrix[0, 0].item(), -vector[0].item()

    clip = "clip(norm=1) | sgd(lr=1.0)"
    assert steps(f"route(matrix={clip}, other=sgd(lr=1.0))") == pytest.approx((1 / 3, 2))
    assert steps(f"route(matrix={clip}, other={clip})") == pytest.approx((1 / 3, 0.5))
    assert steps(f"route(matrix={clip}, other=e(alpha=0) | {clip})") == pytest.approx((1 / 3, 0.5))
    assert steps("grad | clip(norm=1) | route(matrix=sgd(lr=1.0), other=sgd(lr=1.0))") == pytest.approx((0.2, 0.4))


def test_synonyms_reach_into_routes():
    pipeline = edsl.parse("emuon(other_betas=(0.8, 0.9), other_eps=1e-6)")
    assert "beta2=0.8, beta3=0.9" in str(pipeline)
    assert "eps1=1e-06" in str(pipeline)


def test_schedulers_see_one_group_for_each_route():
    optimizer = edsl.compile("emuon(lr=0.02, other_lr=0.001)", Model(), mode="eager")
    assert [(group["route"], group["lr"]) for group in optimizer.param_groups] == [("matrix", 0.02), ("other", 0.001)]
    assert "momentum" in optimizer.param_groups[0]
    assert "beta3" in optimizer.param_groups[1]
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.5**epoch)
    optimizer.step()
    scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.01, 0.0005]
    assert all(key in group for group in optimizer.param_groups for key in optimizer.defaults)


def test_a_users_groups_are_parted_and_keep_their_own_values():
    model = Model()
    groups = [
        {"params": list(model.blocks.named_parameters()), "lr": 0.5},
        {"params": list(model.out.named_parameters())},
    ]
    optimizer = edsl.compile("route(matrix=muon(lr=0.1), vector=adamw(lr=0.2))", groups, mode="eager")
    assert [(group["route"], group["lr"]) for group in optimizer.param_groups] == [
        ("matrix", 0.5),
        ("vector", 0.2),
        ("matrix", 0.1),
        ("vector", 0.2),
    ]


def test_a_group_may_name_its_route():
    (matrix,) = parameters([(4, 3)])
    optimizer = edsl.compile("route(matrix=muon, other=adamw)", [{"params": [matrix], "route": "other"}], mode="eager")
    assert "beta3" in optimizer.param_groups[0]
    with pytest.raises(edsl.EdslError, match="its route must be matrix or other"):
        edsl.compile("route(matrix=muon, other=adamw)", [{"params": [matrix], "route": "vector"}])


def test_a_parameter_left_over_is_an_error_with_its_name_and_nothing_is_added():
    with pytest.raises(edsl.EdslError, match=r"no route takes parameter blocks.0.bias of shape \(4,\); add other="):
        edsl.compile("route(matrix=muon)", Model())
    matrix, vector = parameters([(4, 3), (7,)])
    optimizer = edsl.compile("route(matrix=muon)", [matrix], mode="eager")
    with pytest.raises(edsl.EdslError, match="no route takes a parameter"):
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(2, 2)), vector]})
    assert len(optimizer.param_groups) == 1


def test_names_and_modules_that_a_route_needs_must_be_known():
    with pytest.raises(edsl.EdslError, match="needs names"):
        edsl.compile("route(('blocks.*', lion), other=adamw)", Model().parameters())
    with pytest.raises(edsl.EdslError, match="embedding=… needs the module"):
        edsl.compile("route(embedding=lion, other=adamw)", Model().named_parameters())
    with pytest.raises(edsl.EdslError, match=r"no parameter of this module is called 'block\.\*'"):
        edsl.compile("route(('block.*', lion), other=adamw)", Model())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("route()", "needs at least one"),
        ("route", "needs at least one"),
        ("route(matrices=muon)", "did you mean 'matrix'"),
        ("route(matrix=3)", "expected a stage"),
        ("route(muon)", "expected a kind=stages or a pair"),
        ("route(('a', muon, 3))", "expected a kind=stages or a pair"),
        ("route(('matrix', muon), other=sgd)", "is a kind, not a pattern"),
        ("route(('a', muon), ('a', sgd))", "has 'a' twice"),
        ("route(matrix=muon, matrix=sgd)", "repeated|once"),
        ("route(matrix=e)", "must lead to a base update"),
        ("route(matrix=grad | sgd)", "shares one estimator"),
        ("route(matrix=route(other=sgd), other=sgd)", "list all routes in one"),
        ("route(matrix=torch.AdamW(lr=0.1), other=sgd)", "takes edsl's own updates only"),
        ("route(matrix=muon(lr=-1))", r"lr must lie in \[0, ∞\)"),
        ("route(matrix=muno)", "did you mean 'muon'"),
        ("route(matrix=sgd | e)", "can't follow"),
        ("grad | route(matrix=adahessian, other=sgd)", "begin with hutchinson"),
        ("route(other=sgd) | adam", "two base updates"),
    ],
)
def test_a_bad_route_is_one_message_with_a_caret(text, message):
    with pytest.raises(edsl.EdslError, match=message) as raised:
        edsl.parse(text)
    assert str(raised.value).splitlines()[-1].strip() == "^"


def test_python_and_text_write_the_same_pipeline():
    written = edsl.grad() | edsl.e() | edsl.route(("a.*", edsl.lion()), matrix=edsl.e() | edsl.muon(), other=edsl.sgd())
    assert written == edsl.parse("grad | e | route(('a.*', lion), matrix=e | muon, other=sgd)")
    assert edsl.parse(str(written)) == written
    assert hash(written) == hash(edsl.parse(str(written)))


@pytest.mark.parametrize("bad", [{"matrix": 3}, {"matrix": "muon"}, {"matrix": edsl.grad()}, {"rows": edsl.sgd()}])
def test_a_bad_route_from_python_is_an_edsl_error(bad):
    with pytest.raises(edsl.EdslError, match="route"):
        edsl.route(**bad)


def test_arguments_of_the_first_route_have_plain_names_and_the_others_their_routes():
    pipeline = edsl.parse("grad | e | route(matrix=muon, other=adamw, ('x*', sgd))".replace(", ('x*', sgd)", ""))
    changed = pipeline.override(lr=0.5, other_lr=0.25, alpha=-3)
    assert str(changed.branches["matrix"].update).startswith("muon(lr=0.5")
    assert str(changed.branches["other"].update).startswith("adamw(lr=0.25")
    assert "alpha=-3" in str(changed)
    with pytest.raises(edsl.EdslError, match="did you mean 'other_lr'"):
        pipeline.override(othr_lr=1)


def test_routed_state_resumes_copies_and_pickles_and_refuses_other_routes():
    rows = gradients(6)
    params = parameters()
    optimizer = edsl.compile("emuon", params, mode="eager")
    walk(optimizer, params, rows[:3])
    twin_params = copy.deepcopy(params)
    twin = edsl.compile("emuon", twin_params, mode="eager")
    twin.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    copied_params, copied = copy.deepcopy((params, optimizer))
    pickled_params, pickled = pickle.loads(pickle.dumps((params, optimizer)))
    expected = walk(optimizer, params, rows[3:])
    assert worst(walk(twin, twin_params, rows[3:]), expected) == 0
    assert worst(walk(copied, copied_params, rows[3:]), expected) == 0
    assert worst(walk(pickled, pickled_params, rows[3:]), expected) == 0
    strange = edsl.compile("eshampoo", parameters(), mode="eager")
    with pytest.raises(edsl.EdslError, match="this checkpoint is of"):
        strange.load_state_dict(optimizer.state_dict())


def test_a_checkpoint_whose_groups_took_other_routes_is_refused():
    matrix, vector = parameters([(4, 3), (7,)])
    saved = edsl.compile("emuon", [matrix, vector], mode="eager").state_dict()
    other = edsl.compile("emuon", [vector, torch.nn.Parameter(torch.ones(3))], mode="eager")
    saved["param_groups"] = saved["param_groups"][1:]
    saved["param_groups"][0]["params"] = [0, 1]
    saved["param_groups"][0]["route"] = "matrix"
    with pytest.raises(edsl.EdslError):
        other.load_state_dict(saved)


def test_biases_and_norms_are_spared_on_every_route():
    model = Model()
    optimizer = edsl.compile("route(matrix=muon(weight_decay=0.5), other=adamw(weight_decay=0.5))", model, mode="eager")
    for parameter in model.parameters():
        nn.init.ones_(parameter)
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    moved = {name for name, parameter in model.named_parameters() if (parameter != 1).any()}
    assert moved == {name for name, p in model.named_parameters() if p.dim() >= 2}


@pytest.mark.parametrize("name", ["muon", "shampoo", "soap"])
def test_a_matrix_update_refuses_a_vector_by_name_and_folds_a_kernel(name):
    with pytest.raises(edsl.EdslError, match=rf"^{name} takes matrices .* parameter blocks.0.bias has shape \(4,\)"):
        edsl.compile(name, Model())
    kernel = torch.nn.Parameter(torch.randn(4, 2, 3, 3, dtype=torch.float64))
    folded = torch.nn.Parameter(kernel.detach().clone().view(4, 18))
    rows = gradients(5, [(4, 2, 3, 3)])
    steps = walk(edsl.compile(name, [kernel], mode="eager"), [kernel], rows)
    flat = walk(edsl.compile(name, [folded], mode="eager"), [folded], [[row[0].view(4, 18)] for row in rows])
    assert worst([[step[0].view(4, 18)] for step in steps], flat) == 0


@pytest.mark.parametrize("name", ["muon", "shampoo(every=2)", "soap(every=2)"])
def test_a_matrix_update_steps_any_layout_alike(name):
    values = torch.randn(4, 6, dtype=torch.float64)
    rows = gradients(5, [(4, 6)])
    plain, transposed = torch.nn.Parameter(values.clone()), torch.nn.Parameter(values.clone().T.contiguous().T)
    assert not transposed.is_contiguous()
    one = walk(edsl.compile(name, [plain], mode="eager"), [plain], rows)
    other = walk(edsl.compile(name, [transposed], mode="eager"), [transposed], rows)
    assert worst(one, other) <= 1e-12


def test_a_tied_weight_has_the_kinds_of_all_its_owners():
    model = nn.Module()
    model.lm_head = nn.Linear(4, 5, bias=False)
    model.emb = nn.Embedding(5, 4)
    model.emb.weight = model.lm_head.weight
    assert routes("route(embedding=adamw, matrix=muon, other=lion)", model) == {"lm_head.weight": "embedding"}


def test_a_route_is_fixed_once_the_optimizer_steps():
    params = parameters()
    optimizer = edsl.compile("emuon", params, mode="eager")
    walk(optimizer, params, gradients(1))
    optimizer.param_groups[1]["route"] = "matrix"
    with pytest.raises(edsl.EdslError, match=r"its route is fixed|lost its"):
        walk(optimizer, params, gradients(1))


@pytest.mark.parametrize("route", [[], {}, 3, None])
def test_a_route_that_is_no_text_is_an_edsl_error(route):
    with pytest.raises(edsl.EdslError, match="its route must be"):
        edsl.compile("emuon", [{"params": parameters([(2, 2)]), "route": route}])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("route(('', sgd), other=adamw)", "empty pattern"),
        ("grad | ezo", "ezo begins with spsa"),
        ("route(matrix=esam_sgd, other=sgd)", "esam_sgd begins with sam"),
    ],
)
def test_no_estimator_and_no_route_is_lost_silently(text, message):
    with pytest.raises(edsl.EdslError, match=message):
        edsl.parse(text)
    edsl.parse("hutchinson(every=5) | eadahessian")
    edsl.parse("grad | clip(norm=1) | alto")


class Decoder(nn.Module):
    """A language model; `head` is what it ends in."""

    def __init__(self, head=None, tied=False):
        super().__init__()
        self.wte = nn.Embedding(11, 4)
        self.pos_embed = nn.Parameter(torch.zeros(1, 6, 4))
        self.inner = nn.Linear(4, 4)
        self.up = nn.Linear(4, 8)
        self.down = nn.Linear(8, 4)
        self.norm = nn.LayerNorm(4)
        if head is not None:
            self.out = head
        if tied:
            self.out.weight = self.wte.weight


class Declaring(Decoder):
    """As Hugging Face's models say what their head is."""

    def get_output_embeddings(self):
        return self.up


class Refusing(Decoder):
    def get_output_embeddings(self):
        raise NotImplementedError


def vgg():
    model = nn.Module()
    model.features = nn.Conv2d(3, 4, 3)
    model.classifier = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    return model


def towers():
    """Two models of one, each with a head of its own."""
    model = nn.Module()
    model.text, model.image = Decoder(nn.Linear(4, 11)), Declaring()
    return model


APART = {
    "the last layer": (Decoder(nn.Linear(4, 3)), {"wte.weight", "pos_embed", "out.weight"}),
    "a vocabulary's width, a layer behind it": (
        nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 4), nn.Linear(4, 7), nn.LayerNorm(7)),
        {"0.weight", "2.weight"},
    ),
    "no head": (Decoder(), {"wte.weight", "pos_embed"}),
    "tied": (Decoder(nn.Linear(4, 11, bias=False), tied=True), {"wte.weight", "pos_embed"}),
    "declared": (Declaring(nn.Linear(4, 4)), {"wte.weight", "pos_embed", "up.weight"}),
    "not declared": (Refusing(nn.Linear(4, 3)), {"wte.weight", "pos_embed", "out.weight"}),
    "called so, in a container": (vgg(), {"classifier.2.weight"}),
    "no embedding": (nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.LayerNorm(4)), {"1.weight"}),
    "of a part": (
        towers(),
        {"text.wte.weight", "text.pos_embed", "image.wte.weight", "image.pos_embed", "image.up.weight"},
    ),
}


@pytest.mark.parametrize("recipe", ["emuon", "eshampoo", "esoap"])
@pytest.mark.parametrize("kind", APART)
def test_a_module_keeps_embeddings_and_heads_from_a_matrix_update(kind, recipe):
    model, apart = APART[kind]
    found = routes(recipe, model)
    matrices = {name for name, parameter in model.named_parameters() if parameter.dim() >= 2}
    assert {name for name in matrices if found[name] == "other"} == apart
    assert all(found[name] == "other" for name in found.keys() - matrices)


def test_bare_and_named_tensors_are_matrices_whatever_they_are_called():
    model = Decoder(nn.Linear(4, 3))
    model.pos_embed = nn.Parameter(model.pos_embed.detach()[0])  # of three dimensions, it might be a stack
    matrices = {name for name, parameter in model.named_parameters() if parameter.dim() >= 2}
    assert {name for name, route in routes("emuon", model.named_parameters()).items() if route == "matrix"} == matrices
    (matrix, other) = edsl.compile("emuon", model.parameters(), mode="eager").param_groups
    assert (len(matrix["params"]), len(other["params"])) == (len(matrices), 6)


def test_routes_of_their_own_lead_embeddings_and_heads_to_a_matrix_update_too():
    model = Decoder(nn.Linear(4, 3))
    model.pos_embed = nn.Parameter(model.pos_embed.detach()[0])
    found = routes("route(matrix=muon, embedding=muon, other=adamw)", model)
    assert (found["wte.weight"], found["out.weight"], found["inner.weight"]) == ("embedding", "matrix", "matrix")
    found = routes("route(('out.weight', muon), matrix=muon, other=adamw)", model)
    assert (found["wte.weight"], found["out.weight"], found["out.bias"]) == ("other", "out.weight", "other")
    found = routes("route(('out.*', sgd), matrix=muon, other=adamw)", model)
    assert (found["out.weight"], found["out.bias"], found["wte.weight"]) == ("out.*", "out.*", "other")
    assert routes("route(matrix=muon, vector=adamw)", model)["wte.weight"] == "matrix"


def test_a_parameter_that_is_moved_to_another_route_begins_there():
    params = parameters([(3, 3), (2, 2), (4,)])
    optimizer = edsl.compile("emuon", params, mode="eager")
    rows = gradients(3, [(3, 3), (2, 2), (4,)])
    walk(optimizer, params, rows[:2])
    matrix, other = optimizer.param_groups
    other["params"].append(matrix["params"].pop())
    alone = torch.nn.Parameter(params[1].detach().clone())
    walk(optimizer, params, rows[2:])
    fresh = walk(edsl.compile("grad | e | adamw", [alone], mode="eager"), [alone], [[row[1]] for row in rows[2:]])
    assert worst(fresh, [[params[1].detach()]]) == 0
    assert int(optimizer.state[params[1]]["step"]) == 1
    assert "adamw.v" in optimizer.state[params[1]]
    assert int(optimizer.state[params[0]]["step"]) == 3
