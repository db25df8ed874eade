"""Functions that run in processes of their own, joined by gloo; every process calls all of them."""

from __future__ import annotations

import copy
import os
import socket
import time
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import torch.multiprocessing as mp
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_state_dict,
    set_model_state_dict,
    set_state_dict,
)

import edsl
from edsl.numerics.weights.forms import form_of


def in_processes(count, function, *arguments):
    """Run function(rank, *arguments) in so many processes; what rank 0 returns."""
    with TemporaryDirectory() as folder:
        file = str(Path(folder) / "result.pt")
        arguments = (count, free_port(), file, function, arguments)
        mp.start_processes(_enter, args=arguments, nprocs=count, start_method="forkserver")
        return torch.load(file)


def in_turn(rank, runs):
    """Several runs by their names, (function, *arguments) each, in the same processes."""
    return {name: function(rank, *arguments) for name, (function, *arguments) in runs.items()}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _enter(rank, count, port, file, function, arguments):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=count)
    result = function(rank, *arguments)
    if rank == 0:
        torch.save(result, file)
    dist.barrier()  # none leaves while another may still talk to it
    dist.destroy_process_group()


def network():
    """Matrices, a kernel, and a layer of fewer rows than three processes."""
    torch.manual_seed(0)
    layers = [nn.Unflatten(1, (2, 3, 1)), nn.Conv2d(2, 4, (2, 1)), nn.Flatten(), nn.Linear(8, 6), nn.Tanh()]
    return nn.Sequential(*layers, nn.LayerNorm(6), nn.Linear(6, 2), nn.Linear(2, 2)).double()


def batches(steps):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(12, 6, generator=generator, dtype=torch.float64) for _ in range(steps)]


def train(model, optimizer, rank=0, count=1, steps=5):
    """Steps on this rank's share of each batch; the whole weights at the end."""
    estimator = getattr(optimizer, "pipeline", edsl.parse("grad | sgd")).estimator
    for batch in batches(steps):

        def closure(batch=batch):
            if estimator.calls_backward:
                optimizer.zero_grad()
            loss = model(batch.chunk(count)[rank]).square().mean()
            if estimator.calls_backward:
                loss.backward()
            return loss

        if estimator.needs_closure:
            optimizer.step(closure)
        else:
            closure()
            optimizer.step()
    return weights(model)


def weights(model):
    return [whole(p).detach().clone() for p in model.parameters()]


def whole(tensor):
    return tensor.full_tensor() if isinstance(tensor, dist.tensor.DTensor) else tensor


def single(spec, steps=5, bare=False):
    """One process with the joint batch; with bare tensors, which have no names and no kinds, or the module."""
    model = network()
    return train(model, edsl.compile(spec, list(model.parameters()) if bare else model, mode="eager"), steps=steps)


def distance_of_halving(spec, steps=5, bare=False):
    """How far one process comes from itself by adding the loss of each batch's halves.

    Where SOAP's covariances have no rank, rounding alone chooses its basis.
    """
    model = network()
    optimizer = edsl.compile(spec, list(model.parameters()) if bare else model, mode="eager")
    for batch in batches(steps):
        optimizer.zero_grad()
        (sum(model(half).square().mean() for half in batch.chunk(2)) / 2).backward()
        optimizer.step()
    expected = single(spec, steps, bare=bare)
    return 2 * max(float((a - b).abs().max()) for a, b in zip(weights(model), expected, strict=True))


def ddp(rank, spec):
    model = nn.parallel.DistributedDataParallel(network())
    optimizer = edsl.compile(spec, model.module, mode="eager")
    evaluates = optimizer.pipeline.estimator.needs_closure and not optimizer.pipeline.estimator.calls_backward
    return train(model.module if evaluates else model, optimizer, rank, dist.get_world_size())


def zero(rank, spec):
    """Training with the state divided by ZeroRedundancyOptimizer, or what it is refused for."""
    from torch.distributed.optim import ZeroRedundancyOptimizer

    model = nn.parallel.DistributedDataParallel(network())
    estimator = edsl.parse(spec).estimator
    parts = model.module if estimator.needs_closure else model
    optimizer = ZeroRedundancyOptimizer(model.parameters(), edsl.PipelineOptimizer, spec=spec, mode="eager")
    optimizer.pipeline = edsl.parse(spec)
    try:
        return train(parts, optimizer, rank, dist.get_world_size())
    except edsl.EdslError as error:
        return str(error)


def sharded_model(mesh=None):
    from torch.distributed.fsdp import fully_shard

    model = network()
    for layer in model:
        if list(layer.parameters()):
            fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def fsdp(rank, spec, mode="eager", steps=5, mesh_shape=None):
    """Training under FSDP2; with a shape of two dimensions replicas of shards (HSDP)."""
    mesh = dist.init_device_mesh("cpu", mesh_shape, mesh_dim_names=("copies", "shards")) if mesh_shape else None
    model = sharded_model(mesh)
    optimizer = edsl.compile(spec, model, mode=mode)
    found = train(model, optimizer, rank, dist.get_world_size(), steps)
    assert getattr(optimizer, "fallbacks", []) == []
    return found


def refusal(rank, spec):
    """What a step on sharded parameters says."""
    model = sharded_model()
    optimizer = edsl.compile(spec, model, mode="eager")
    try:
        train(model, optimizer, rank, dist.get_world_size(), 1)
    except edsl.EdslError as error:
        return str(error)
    return ""


def flattened(rank, spec):
    """What building on FSDP1's pieces says, or how far training on them is from one process with the whole."""
    from torch.distributed.fsdp import FullyShardedDataParallel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # FSDP1 is deprecated
        model = FullyShardedDataParallel(network(), use_orig_params=True, device_id=torch.device("cpu"))
        try:
            optimizer = edsl.compile(spec, model, mode="eager")
        except edsl.EdslError as error:
            return str(error)
        train(model, optimizer, rank, dist.get_world_size(), 3)
        with FullyShardedDataParallel.summon_full_params(model):
            return [p.detach().clone() for p in model.parameters()]


def averaged_weights(rank, spec):
    """Inside evaluation_weights(), and after it."""
    model = sharded_model()
    optimizer = edsl.compile(spec, model, mode="eager")
    train(model, optimizer, rank, dist.get_world_size(), 3)
    with optimizer.evaluation_weights():
        inside = weights(model)
    return inside, weights(model)


def numbers_of_layers(rank, spec, mesh=True):
    """The buffers of one number a layer, as every process has them after training, or as one alone has them."""
    model = sharded_model() if mesh else network()
    optimizer = edsl.compile(spec, model, mode="eager")
    train(model, optimizer, rank, dist.get_world_size() if mesh else 1, 3)
    own = [
        value.tolist()
        for p in model.parameters()
        for name, value in sorted(optimizer.state[p].items())
        if name != "step" and not isinstance(value, dist.tensor.DTensor) and value.shape == (1,)
    ]
    if not mesh:
        return [own]
    found = [None] * dist.get_world_size()
    dist.all_gather_object(found, own)
    return found


def partly_sharded(rank, spec):
    """Training where one layer alone is sharded; what is not has its gradients averaged by hand."""
    from torch.distributed.fsdp import fully_shard

    model = network()
    fully_shard(model[3])
    optimizer = edsl.compile(spec, model, mode="eager")
    for batch in batches(5):
        optimizer.zero_grad()
        model(batch.chunk(2)[rank]).square().mean().backward()
        for parameter in model.parameters():
            if not isinstance(parameter, dist.tensor.DTensor):
                dist.all_reduce(parameter.grad)
                parameter.grad /= 2
        optimizer.step()
    return weights(model)


def begun_alone(rank, spec):
    """Training that a single process began and shards go on with; then what loading it back says."""
    alone = network()
    optimizer = edsl.compile(spec, alone, mode="eager")
    train(alone, optimizer, steps=4)
    model = sharded_model()
    set_model_state_dict(model, alone.state_dict(), options=StateDictOptions(full_state_dict=True))
    sharded = edsl.compile(spec, model, mode="eager")
    sharded.load_state_dict(optimizer.state_dict())
    found = train(model, sharded, rank, dist.get_world_size(), 3)
    try:
        optimizer.load_state_dict(sharded.state_dict())
    except edsl.EdslError as error:
        return found, str(error)
    return found, ""


def guarded(rank, spec):
    """Before and after a step whose gradient is not finite on one process; how many were found."""
    model = sharded_model()
    optimizer = edsl.compile(spec, model, mode="eager")
    train(model, optimizer, rank, dist.get_world_size(), 2)
    before = weights(model)
    for parameter in model.parameters():
        parameter.grad.to_local().fill_(float("nan") if rank == 1 else 1.0)
    optimizer.step()
    return before, weights(model), optimizer.param_groups[0]["nonfinite_steps"]


def half_precision(rank, spec):
    """The dtypes of a bfloat16 model's state."""
    from torch.distributed.fsdp import fully_shard

    model = network().to(torch.bfloat16)
    fully_shard(model)
    optimizer = edsl.compile(spec, model, mode="eager")
    model(batches(1)[0].bfloat16()).square().mean().backward()
    optimizer.step()
    assert all(p.dtype == torch.bfloat16 for p in model.parameters())
    return {buffer.dtype for state in optimizer.state.values() for name, buffer in state.items() if name != "step"}


def tensor_parallel(rank, spec):
    """Training of a model cut by columns and rows over one mesh dimension, and by FSDP2 over another."""
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    mesh = dist.init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))
    model = perceptron()
    parallelize_module(model, mesh["tp"], {"0": ColwiseParallel(), "2": RowwiseParallel()})
    fully_shard(model, mesh=mesh["dp"])
    optimizer = edsl.compile(spec, model, mode="eager")
    return train(model, optimizer, mesh["dp"].get_local_rank(), 2)


def tensor_parallel_refusal(rank, spec):
    """What building on matrices that are cut over two mesh dimensions says."""
    try:
        tensor_parallel(rank, spec)
    except edsl.EdslError as error:
        return str(error)
    return ""


def said_of_another(rank, how, specs, **options):
    """What every process says at the first step, each with a spec (and a learning rate) of its own."""
    model = network() if how in ("ddp", "bare") else sharded_model()
    wrapped = nn.parallel.DistributedDataParallel(model) if how == "ddp" else model
    optimizer = edsl.compile(specs[rank], model, mode="eager", **options)
    if how == "rates":
        optimizer.param_groups[0]["lr"] = 0.1 * (rank + 1)
    if how == "weights":
        optimizer.param_groups[0]["weights"] = ("kahan", "split")[rank]
    said = ""
    try:
        train(wrapped, optimizer, rank, len(specs), steps=1)
    except edsl.EdslError as error:
        said = str(error)
    every = [None] * len(specs)
    dist.all_gather_object(every, said)
    return every


def alone(rank):
    """Optimizers that one process alone has, or that each has for a model of its own, wait for nobody."""
    begun = time.monotonic()
    if rank == 0:
        train(network(), edsl.compile("alto", network(), mode="eager"))
    model = network()
    train(model, edsl.compile(("alto", "eadamw")[rank], model, mode="eager"))
    part = nn.parallel.DistributedDataParallel(network())
    train(part, edsl.compile(("sgd", "lion")[rank], list(part.parameters())[rank::2], mode="eager"), rank, 2)
    return time.monotonic() - begun


def perceptron():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4)).double()


class Conv1D(nn.Module):
    """As GPT-2 stores its projections: (inputs, outputs)."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inputs, outputs) / 2)

    def forward(self, x):
        return x @ self.weight


class Mixture(nn.Module):
    """Fused projections by rows and by columns, and a stack of experts that no number of processes divides."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.qkv, self.c_attn = nn.Linear(6, 18), Conv1D(6, 18)
        self.experts = nn.Parameter(torch.randn(3, 18, 4) / 4)
        self.out = nn.Linear(4, 2)
        self.double()

    def forward(self, x):
        return self.out(torch.einsum("bi,eio->bo", torch.tanh(self.qkv(x) * self.c_attn(x)), self.experts))


def in_parts(rank, spec, how=""):
    """Training of parameters that are several matrices: in one process, under FSDP2, or cut by tensor parallelism."""
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import Replicate
    from torch.distributed.tensor.parallel import ColwiseParallel, parallelize_module

    model = Mixture()
    if how == "fsdp":
        fully_shard(model)
    elif how == "tp":
        mesh = dist.init_device_mesh("cpu", (2,), mesh_dim_names=("tp",))
        parallelize_module(model, mesh, {"qkv": ColwiseParallel(output_layouts=Replicate())})
    optimizer = edsl.compile(spec, model, mode="eager")
    assert list(optimizer.matrices.values())[:3] == ["3 of 18 × 4: 0, 1, 2", *["3 of 6 × 6: q, k, v"] * 2]
    return train(model, optimizer, rank if how == "fsdp" else 0, 2 if how == "fsdp" else 1)


def saved(rank, folder, specs):
    """Train, save by torch.distributed.checkpoint sharded and whole, train on; the weights at the end."""
    found = {}
    for number, spec in enumerate(specs):
        model = sharded_model()
        optimizer = edsl.compile(spec, model, mode="eager")
        train(model, optimizer, rank, dist.get_world_size(), 4)
        weights_now, state = get_state_dict(model, optimizer)
        dcp.save({"model": weights_now, "optimizer": state}, checkpoint_id=f"{folder}/{number}")
        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        full = get_state_dict(model, optimizer, options=options)
        if rank == 0:
            torch.save(full, f"{folder}/{number}.pt")
        found[spec] = train(model, optimizer, rank, dist.get_world_size(), 4)
    return found


def resumed(rank, folder, specs, full=False):
    """Load what `saved` left and train on as it did, on however many processes."""
    found = {}
    for number, spec in enumerate(specs):
        model = sharded_model()
        optimizer = edsl.compile(spec, model, mode="eager")
        if full:
            weights_then, state = torch.load(f"{folder}/{number}.pt", weights_only=True)
            options = StateDictOptions(full_state_dict=True)
        else:
            weights_then, state = get_state_dict(model, optimizer)
            dcp.load({"model": weights_then, "optimizer": state}, checkpoint_id=f"{folder}/{number}")
            options = None
        set_state_dict(model, optimizer, model_state_dict=weights_then, optim_state_dict=state, options=options)
        found[spec] = train(model, optimizer, rank, dist.get_world_size(), 4)
    return found


def in_codes(rank, folder, choice, begun=False, full=False):
    """Train with state in codes and save, or load what was saved: the values of the state then, and weights later."""
    from torch.distributed.fsdp import fully_shard

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(130, 10), nn.Linear(10, 130), nn.Linear(130, 2))
    for layer in model:
        fully_shard(layer)
    fully_shard(model)
    optimizer = edsl.compile("alto", model, mode="eager", state_dtype=choice)
    inputs = torch.randn(8, 16, 130, generator=torch.Generator().manual_seed(1))

    def go(batches):
        for batch in batches:
            optimizer.zero_grad()
            model(batch).square().mean().backward()
            optimizer.step()

    if not begun:
        go(inputs[:4])
        now, state = get_state_dict(model, optimizer)
        dcp.save({"model": now, "optimizer": state}, checkpoint_id=folder)
        whole_now = get_state_dict(model, optimizer, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
        if rank == 0:
            torch.save(whole_now, f"{folder}.pt")
    elif full:
        then, state = torch.load(f"{folder}.pt", weights_only=True)
        options = StateDictOptions(full_state_dict=True)
        set_state_dict(model, optimizer, model_state_dict=then, optim_state_dict=state, options=options)
    else:
        then, state = get_state_dict(model, optimizer)
        dcp.load({"model": then, "optimizer": state}, checkpoint_id=folder)
        set_state_dict(model, optimizer, model_state_dict=then, optim_state_dict=state)
    kinds = [str(value.dtype) for p in model.parameters() for value in optimizer.state[p].values()]
    values = [
        whole(value).clone()
        for p in model.parameters()
        for value in edsl.decoded_state(optimizer, p).values()
        if value.dim()
    ]
    go(inputs[4:])
    return kinds, values, weights(model)


def attached(rank, spec, how, steps=4):
    """Training attached and not: whether both end with the same bits on every process, and no gradient is left."""
    ends = []
    for make in (edsl.attach, edsl.compile):
        if how == "fsdp":
            model = sharded_model()
        else:
            model = nn.parallel.DistributedDataParallel(
                network(), bucket_cap_mb=1e-4, gradient_as_bucket_view=how == "views"
            )
        optimizer = make(spec, model, mode="eager")
        trained = train(model, optimizer, rank, dist.get_world_size(), steps)
        left = [p for p in model.parameters() if p.grad is not None]
        if make is edsl.attach:
            assert not left
            optimizer.detach()
        trained = train(model, optimizer, rank, dist.get_world_size(), steps)
        ends.append(trained)
    found = [None] * dist.get_world_size()
    dist.all_gather_object(found, all(map(torch.equal, *ends)))
    return found


def accumulated(rank, spec):
    """The same where gradients are added up without communication, under no_sync()."""
    ends = []
    for make in (edsl.attach, edsl.compile):
        model = nn.parallel.DistributedDataParallel(network())
        optimizer = make(spec, model, mode="eager")
        for first, second in zip(batches(6)[::2], batches(6)[1::2]):
            optimizer.zero_grad()
            with model.no_sync():
                model(first.chunk(2)[rank]).square().mean().backward()
            model(second.chunk(2)[rank]).square().mean().backward()
            optimizer.step()
        ends.append(weights(model))
    return all(map(torch.equal, *ends))


def unattachable(rank, how):
    """What attaching says where gradients come together otherwise."""
    from torch.distributed.fsdp import FullyShardedDataParallel

    wrap = nn.parallel.DistributedDataParallel
    try:
        if how == "unused":
            edsl.attach("sgd", wrap(network(), find_unused_parameters=True))
        elif how == "hooked":
            model = wrap(network())
            model.register_comm_hook(None, lambda _, bucket: torch.futures.Future().set_result(bucket.buffer()))
            edsl.attach("sgd", model)
        elif how == "inner":
            model = wrap(network())
            edsl.attach("sgd", model.module, mode="eager")
            model(batches(1)[0]).square().mean().backward()
        elif how == "flat":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # FSDP1 is deprecated
                model = FullyShardedDataParallel(network(), use_orig_params=True, device_id=torch.device("cpu"))
            edsl.attach("sgd", model)
    except edsl.EdslError as error:
        return str(error)
    return ""


def model_of_ones():
    """A matrix and a vector of many elements, all 1, in bfloat16."""
    model = nn.Sequential(nn.Linear(64, 64, bias=False), nn.LayerNorm(4096, elementwise_affine=True)).bfloat16()
    for parameter in model.parameters():
        nn.init.ones_(parameter)
    return model


def on_ones(model, optimizer, steps):
    """Steps on gradients of 1."""
    for _ in range(steps):
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()


def value_held(model, optimizer):
    """The value of each whole weight: with its compensation, or both halves joined."""
    found = []
    saved = {name: whole(value) for name, value in model.state_dict().items()}
    for parameter, value in zip(model.parameters(), saved.values(), strict=True):
        form = form_of(optimizer.param_groups[0]["weights"], parameter.dtype)
        rest = optimizer.state[parameter].get(form.buffer)
        if rest is not None and rest.dtype is torch.int16 and isinstance(rest, dist.tensor.DTensor):
            local = rest.to_local().view(torch.bfloat16)  # which gloo gathers
            rest = dist.tensor.DTensor.from_local(local, rest.device_mesh, rest.placements).full_tensor()
            rest = rest.view(torch.int16)
        found.append(form.join(value, None if rest is None else whole(rest)).double())
    return found


def kept_weights(rank, spec, form, place):
    """Whole weights after 100 steps: undisturbed, and resumed after 50 from a sharded and from a whole checkpoint."""
    from torch.distributed.fsdp import fully_shard

    def built():
        model = model_of_ones()
        fully_shard(model)
        return model, edsl.compile(spec, model, mode="eager", weights=form)

    model, optimizer = built()
    on_ones(model, optimizer, 50)
    weights_now, state = get_state_dict(model, optimizer)
    dcp.save({"model": weights_now, "optimizer": state}, checkpoint_id=place)
    full = copy.deepcopy(get_state_dict(model, optimizer, options=StateDictOptions(full_state_dict=True)))
    if rank == 0:
        torch.save(full, f"{place}.pt")
    on_ones(model, optimizer, 50)
    found = [value_held(model, optimizer)]
    for is_full in (False, True):
        model, optimizer = built()
        then, state = full if is_full else get_state_dict(model, optimizer)
        if not is_full:
            dcp.load({"model": then, "optimizer": state}, checkpoint_id=place)
        options = StateDictOptions(full_state_dict=is_full)
        set_state_dict(model, optimizer, model_state_dict=then, optim_state_dict=state, options=options)
        on_ones(model, optimizer, 50)
        found.append(value_held(model, optimizer))
    return found
