"""Hugging Face's Trainer fine-tunes a tiny GPT-2 by LoRA: E-AdamW steps the adapters alone."""

import tempfile

import torch
from peft import LoraConfig, get_peft_model
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

import edsl

SPEC = "grad | e(alpha=0.5, beta1=0.01) | adamw(lr=0.02)"
VOCABULARY, LENGTH = 32, 16


def model():
    torch.manual_seed(0)
    config = GPT2Config(
        n_layer=2, n_embd=32, n_head=2, n_positions=LENGTH, vocab_size=VOCABULARY, initializer_range=0.2
    )
    # Of a model that you load: GPT2LMHeadModel.from_pretrained("gpt2")
    layers = ["c_attn", "c_proj", "c_fc"]
    lora = LoraConfig(r=8, lora_alpha=16, target_modules=layers, fan_in_fan_out=True, task_type="CAUSAL_LM")
    return get_peft_model(GPT2LMHeadModel(config), lora)


def main():
    disable_progress_bar()
    set_verbosity_error()
    # Texts that count upwards, from anywhere.
    rows = (torch.randint(VOCABULARY, (64, 1)) + torch.arange(LENGTH)) % VOCABULARY
    adapted = model()
    frozen = {name: p.detach().clone() for name, p in adapted.named_parameters() if not p.requires_grad}
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=40,
            per_device_train_batch_size=16,
            lr_scheduler_type="constant",
            use_cpu=True,
            report_to=[],
            disable_tqdm=True,
            logging_strategy="no",
            save_strategy="no",
        )
        trainer = Trainer(
            adapted,
            arguments,
            train_dataset=[{"input_ids": row, "labels": row} for row in rows],
            optimizer_cls_and_kwargs=(edsl.PipelineOptimizer, {"spec": SPEC}),
        )
        first = loss_of(adapted, rows)
        trainer.train()
    assert all(torch.equal(p, frozen[name]) for name, p in adapted.named_parameters() if name in frozen)
    return first, loss_of(adapted, rows)


def loss_of(adapted, rows):
    with torch.no_grad():
        return adapted(input_ids=rows, labels=rows).loss.item()


if __name__ == "__main__":
    print("loss {:.3f} → {:.3f}".format(*main()))
