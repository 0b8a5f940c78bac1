"""Face recognition: are two images of one person, and which of many images shows the person of a probe?

The network's outputs are an embedding. It is trained with a centre for each person in training; the centres are not
part of the network. In evaluation an image's embedding is that of the image plus that of its mirror image, normalised,
and the similarity of two images is the cosine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from drbench import trial
from drbench.catalog import EMBEDDING
from drbench.data.verification import protocol_of
from drbench.errors import InputError
from drbench.figures import VERIFY
from drbench.outcomes import decode, encode, pairs, rest
from drbench.records import Outcomes
from drbench.tasks.margins import CRITERIA
from drbench.tasks.task import Batch, Predictions, Task

PROBES = 512
"""Probes that are compared with all distractors at once."""
TIE = 1e-9
"""Similarities that differ by less are equal: the same image twice gives them in another order of additions."""


class Verify(Task):
    """Verification of pairs by LFW's protocol, and rank-1 among distractors by MegaFace's."""

    figures = VERIFY
    codec = "pairs-1"
    targets = "people"

    @classmethod
    def outputs(cls, classes: int) -> int:
        """The length of an embedding, whatever the number of people."""
        return EMBEDDING

    @classmethod
    def accepts(cls, outputs: int, classes: int) -> bool:
        """Any embedding of two numbers or more."""
        return outputs > 1

    def criterion(self, network: nn.Module) -> nn.Module:
        """The centres of the people in training, with the margin of the settings."""
        with trial.undisturbed(network) as running:
            embedding = self.check(trial.image(running, self.splits.input_shape)(running)).shape[1]
        settings = self.settings
        name = next(iter(CRITERIA)) if settings.criterion == "default" else settings.criterion
        return CRITERIA[name](len(self.splits.classes), embedding, settings.scale, settings.margin)

    def losses(self, network: nn.Module, criterion: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        """The criterion's loss of the batch's embeddings."""
        return {"margin": criterion(self.check(network(batch.inputs)), batch.targets, batch.progress)}

    def predict(self, network: nn.Module, batch: Batch) -> Predictions:
        """The embedding of each image, (embedding,) float32 of length 1."""
        both = self.check(network(batch.inputs)).float() + self.check(network(batch.inputs.flip(3))).float()
        return Predictions(list(functional.normalize(both).cpu().numpy()))

    def judge(self, predictions: Sequence[Any], dataset: Dataset[Any]) -> Outcomes:
        """The similarity of each pair, and the rank of each probe's mate among the distractors."""
        asked = protocol_of(dataset)
        if asked is None:
            raise InputError(
                "task 'verify': got images with classes; expected a data set of people, such as identities"
            )
        embeddings = np.stack(predictions).astype(np.float64) if len(predictions) else np.zeros((0, 1))
        similarity = (embeddings[asked.first] * embeddings[asked.second]).sum(1)
        found = pairs.table(similarity, asked.same, asked.fold, asked.people[asked.first], asked.people[asked.second])
        probes = pairs.probe_table([], [])
        if len(asked.distractors):
            probes = pairs.probe_table(
                ranks(embeddings, asked.probes, asked.mates, asked.distractors), asked.people[asked.probes]
            )
        return encode(self.figures.unit, self.codec, found, probes)

    def measure(self, outcomes: Outcomes) -> Mapping[str, float]:
        """Accuracy and TAR; rank-1 where there are distractors."""
        table, probes = decode(outcomes), rest(outcomes)
        figures = {
            "accuracy": pairs.accuracy(table).value,
            "tar": pairs.true_accept_rate(table, pairs.false_accept_rate(table)),
        }
        return {**figures, "rank1": pairs.rank1(probes)} if len(probes) else figures

    def about(self, outcomes: Outcomes) -> Mapping[str, Mapping[str, Any]]:
        """Standard error and folds of the accuracy, the FAR of the TAR, and the number of probes."""
        table, probes = decode(outcomes), rest(outcomes)
        found = pairs.accuracy(table)
        return {
            "accuracy": {"standard_error": found.standard_error, "folds": found.folds},
            "tar": {"false_accept_rate": pairs.false_accept_rate(table), "samples": int(table["same"].sum())},
            "rank1": {"samples": len(probes)},
        }

    def check(self, embeddings: Tensor) -> Tensor:
        """`embeddings`, or InputError unless they are (N, embedding)."""
        if not isinstance(embeddings, Tensor) or embeddings.dim() != 2:
            came = f"shape {tuple(embeddings.shape)}" if isinstance(embeddings, Tensor) else type(embeddings).__name__
            raise InputError(f"the network's output: got {came}; expected embeddings, a tensor (images, numbers)")
        return embeddings


def ranks(embeddings: Any, probes: Any, mates: Any, distractors: Any) -> Any:
    """(probes,): how many distractors are at least as similar to a probe as its mate is; all where it is NaN.

    Args:
        embeddings: (images, embedding) of length 1.
        probes, mates: (probes,) places of images.
        distractors: (distractors,) places of images.
    """
    found = np.empty(len(probes), np.int64)
    for start in range(0, len(probes), PROBES):
        some = slice(start, start + PROBES)
        probe = embeddings[probes[some]]
        to_mate = (probe * embeddings[mates[some]]).sum(1)
        nearer = ~(probe @ embeddings[distractors].T < to_mate[:, None] - TIE)
        found[some] = nearer.sum(1)
    return found
