"""A BERT of transformers that sorts texts: several inputs, and a model that returns an object."""

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import BertConfig, BertForSequenceClassification

import edsl

WORDS, LENGTH = 60, 16


def data():
    """Made texts of word numbers, ended early by padding; the label is whether the first word comes again.

    Of a data set of `datasets` it would be edsl.Rows(**tokenized.with_format("torch")[:]).
    """
    words = torch.randint(1, WORDS, (1200, LENGTH))
    labels = torch.randint(2, (1200,))
    words[:, 5] = torch.where(labels == 1, words[:, 0], words[:, 5])
    mask = (torch.arange(LENGTH) < torch.randint(8, LENGTH + 1, (1200, 1))).long()
    return edsl.Rows(input_ids=words * mask, attention_mask=mask), labels


class Classifier(nn.Module):
    """Transformers' model, whose logits are its output."""

    def __init__(self):
        super().__init__()
        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
        self.bert = BertForSequenceClassification(BertConfig(vocab_size=WORDS, num_labels=2, **sizes))

    def forward(self, texts):
        return self.bert(**texts).logits


def accuracy(logits, labels):
    return (logits.argmax(1) == labels).float().mean()


task = edsl.Task(data=data, models=Classifier, loss=cross_entropy, accuracy=accuracy, batch=32, steps=200)
