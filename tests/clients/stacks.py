"""One training run in each training stack: it checkpoints by the stack's own means, can be killed, and resumes.

python stacks.py STACK RECIPE FOLDER      trains, and kills itself with -9 behind the last checkpoint
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import warnings
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader

import edsl
from edsl.lab.closure import closure_for

STEPS, SAVED_AT, EPOCH = 8, 4, 4
VOCABULARY, LENGTH = 16, 6


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.LayerNorm(8), nn.Linear(8, 3))


def examples():
    return list(torch.randn(EPOCH * 5, 6, generator=torch.Generator().manual_seed(1)))


def loss_of(model, batch):
    return (model(batch) - 1).square().mean()


def halving(optimizer):
    """A schedule that changes lr behind every step."""
    return torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.9)


class Mortal:
    """Counts an optimizer's steps, and kills the process as the step of a number ends."""

    def __init__(self, die_at):
        self.die_at = die_at
        self.taken = []

    def of(self, optimizer):
        optimizer.register_step_post_hook(self._count)
        return optimizer

    def _count(self, *_):
        self.taken.append(None)
        if len(self.taken) == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)


def plain(recipe, folder, *, mode="eager", resume=False, die_at=None):
    """A loop of one's own, with torch.save."""
    model = network()
    life = Mortal(die_at)
    optimizer = life.of(edsl.compile(recipe, model, mode=mode))
    schedule = halving(optimizer)
    file, first = Path(folder) / "checkpoint.pt", 0
    if resume:
        saved = torch.load(file, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        schedule.load_state_dict(saved["schedule"])
        first = saved["step"]
    batches = [batch for _ in range(STEPS // EPOCH) for batch in DataLoader(examples(), batch_size=5)]
    for step, batch in enumerate(batches[first:], start=first + 1):
        optimizer.step(closure_for(optimizer.pipeline, optimizer, lambda batch=batch: loss_of(model, batch)))
        schedule.step()
        if step == SAVED_AT and not resume:
            parts = {"model": model, "optimizer": optimizer, "schedule": schedule}
            torch.save({**{key: part.state_dict() for key, part in parts.items()}, "step": step}, file)
    return model, optimizer, life.taken


def lightning(recipe, folder, *, mode="eager", resume=False, die_at=None, **options):
    """A Lightning Trainer, with its ModelCheckpoint; manual optimization where the closure is the loss alone."""
    import lightning as pl
    from lightning.pytorch.callbacks import ModelCheckpoint

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    life = Mortal(die_at)

    class Module(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = network()
            self.automatic_optimization = edsl.parse(recipe).estimator.calls_backward

        def training_step(self, batch):
            if self.automatic_optimization:
                return loss_of(self.model, batch)
            self.optimizers().step(lambda: loss_of(self.model, batch))
            self.lr_schedulers().step()
            return None

        def configure_optimizers(self):
            self.own = life.of(edsl.compile(recipe, self.model, mode=mode))
            return {"optimizer": self.own, "lr_scheduler": {"scheduler": halving(self.own), "interval": "step"}}

    module = Module()
    saving = ModelCheckpoint(folder, filename="{step}", every_n_train_steps=SAVED_AT, save_top_k=-1)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(max_epochs=STEPS // EPOCH, accelerator="cpu", callbacks=[saving], **quiet, **options)
    place = str(Path(folder) / f"step={SAVED_AT}.ckpt") if resume else None
    trainer.fit(module, DataLoader(examples(), batch_size=5), ckpt_path=place)
    return module.model, module.own, life.taken


def transformers(recipe, folder, *, mode="eager", resume=False, die_at=None, **options):
    """A Hugging Face Trainer of a tiny GPT-2, the optimizer by its class and arguments."""
    from transformers import Trainer, TrainingArguments
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    life = Mortal(die_at)

    class Counted(Trainer):
        def create_optimizer(self, *arguments):
            return life.of(super().create_optimizer(*arguments))

    tokens = torch.randint(VOCABULARY, (EPOCH * 5, LENGTH), generator=torch.Generator().manual_seed(1))
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=STEPS,
        save_steps=SAVED_AT,
        per_device_train_batch_size=5,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        logging_strategy="no",
        **{"warmup_steps": 2, **options},
    )
    trainer = Counted(
        language_model(),
        arguments,
        train_dataset=[{"input_ids": row, "labels": row} for row in tokens],
        optimizer_cls_and_kwargs=(edsl.PipelineOptimizer, {"spec": recipe, "mode": mode}),
    )
    trainer.train(resume_from_checkpoint=str(Path(folder) / f"checkpoint-{SAVED_AT}") if resume else None)
    return trainer.model, trainer.optimizer.optimizer, life.taken


def language_model():
    """A tiny GPT-2 from its configuration."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    sizes = {"n_layer": 1, "n_embd": 8, "n_head": 2, "n_positions": LENGTH, "vocab_size": VOCABULARY}
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    no_dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    return GPT2LMHeadModel(GPT2Config(**sizes, **ends, **no_dropout))


def accelerate(recipe, folder, *, mode="eager", resume=False, die_at=None, **options):
    """Accelerate, with its save_state and load_state."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(True)  # it is one for a process, and keeps the first precision
    accelerator = Accelerator(cpu=True, **options)
    model = network()
    life = Mortal(die_at)
    own = life.of(edsl.compile(recipe, model, mode=mode))
    loader = DataLoader(examples(), batch_size=5)
    model, optimizer, loader, schedule = accelerator.prepare(model, own, loader, halving(own))
    place, first = str(Path(folder) / "checkpoint"), 0
    if resume:
        accelerator.load_state(place)
        first = SAVED_AT // EPOCH
    for epoch in range(first, STEPS // EPOCH):
        for batch in loader:
            with accelerator.accumulate(model):

                def closure(batch=batch):
                    if own.pipeline.estimator.calls_backward:
                        optimizer.zero_grad()
                    loss = loss_of(model, batch)
                    if own.pipeline.estimator.calls_backward:
                        accelerator.backward(loss)
                    return loss

                if own.pipeline.estimator.needs_closure:
                    optimizer.step(closure)
                else:
                    closure()
                    accelerator.clip_grad_norm_(model.parameters(), 10.0)
                    optimizer.step()
                schedule.step()
        if epoch == 0 and not resume:
            accelerator.save_state(place)
    return accelerator.unwrap_model(model), own, life.taken


if __name__ == "__main__":
    stack, recipe, folder = sys.argv[1:]
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    globals()[stack](recipe, folder, die_at=SAVED_AT + 2)
