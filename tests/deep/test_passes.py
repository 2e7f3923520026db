"""Labels that a network predicts, and whether it knows them by heart."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from skorch import NeuralNet, NeuralNetClassifier
from torch import nn

from skotw.deep._passes import ClassScores, TrainingPass, learned_by_heart
from tests.deep._nets import Net


def net_with(criterion, cls=NeuralNetClassifier):
    return cls(Net, criterion=criterion).initialize()


def meta_with(outputs, labels):
    return SimpleNamespace(outputs=torch.as_tensor(outputs), labels=torch.as_tensor(labels))


def test_hits_of_each_class():
    scores = ClassScores(3, None)
    logits = torch.eye(3)[[0, 1, 2, 2, 0]]
    # of class 0 one of two, of class 1 one of one, of class 2 one of one; what the loss ignores does not count
    hits = scores.hits(logits, torch.tensor([0, 1, 2, 0, -100]))
    assert hits.tolist() == [[1, 1, 1], [2, 1, 1]]
    assert scores.hits((logits, None), torch.tensor([0, 1, 2, 0, 0]))[0].sum() == 4
    assert scores.hits({"other": logits}, torch.zeros(5)) is None


def test_a_pass_adds_up():
    found = TrainingPass(ClassScores(2, None))
    for labels in ([0, 1], [1, 1]):
        found.count(torch.tensor([[0.0, 1.0], [0.0, 1.0]]), torch.tensor(labels))
    assert found.hits.tolist() == [[0, 3], [1, 3]]


@pytest.mark.parametrize("cls", [NeuralNet, NeuralNetClassifier])
def test_logits_of_classes(cls):
    meta = meta_with(np.zeros((2, 3)), np.array([0, 2]))
    assert ClassScores.of(net_with(nn.CrossEntropyLoss, cls), meta) == ClassScores(3, None)


@pytest.mark.parametrize(("criterion", "threshold"), [(nn.BCEWithLogitsLoss, 0.0), (nn.BCELoss, 0.5)])
def test_one_output_for_two_classes(criterion, threshold):
    scores = ClassScores.of(net_with(criterion, NeuralNet), meta_with(np.zeros((3, 1)), np.array([0.0, 1.0, 1.0])))
    assert scores == ClassScores(2, threshold)
    outputs = threshold + torch.tensor([[-0.1], [0.1], [0.1]])
    assert scores.hits(outputs, torch.tensor([0.0, 0.0, 1.0])).tolist() == [[1, 1], [2, 1]]


@pytest.mark.parametrize(
    ("criterion", "outputs", "labels"),
    [
        (nn.MSELoss, np.zeros((2, 1)), np.array([0.3, 1.7])),
        (nn.MSELoss, np.zeros((2, 1)), np.array([0.0, 1.0])),
        (nn.BCEWithLogitsLoss, np.zeros((2, 3)), np.zeros((2, 3))),
        (nn.BCEWithLogitsLoss, np.zeros((2, 1)), np.array([0.3, 1.0])),
        (nn.MultiMarginLoss, np.zeros((2, 3)), np.array([0, 1])),
    ],
)
def test_outputs_that_are_no_scores_of_classes(criterion, outputs, labels):
    assert ClassScores.of(net_with(criterion, NeuralNet), meta_with(outputs, labels)) is None


@pytest.mark.parametrize(("label", "named"), [(3, "3"), (-1, "-1")])
def test_trusted_label_without_an_output(label, named):
    with pytest.raises(ValueError, match=f"labels without an output of the network: {named}. .* classes 0 to 2"):
        ClassScores.of(net_with(nn.CrossEntropyLoss), meta_with(np.zeros((2, 3)), np.array([0, label])))


def hits(shares, counts):
    return np.array([np.multiply(shares, counts), counts], dtype=float)


@pytest.mark.parametrize(
    ("training", "meta", "expected"),
    [
        (hits([1.0, 1.0], [900, 100]), hits([0.6, 0.6], [20, 20]), True),
        (hits([1.0, 1.0], [900, 100]), hits([0.95, 0.95], [20, 20]), False),  # an ordinary gap
        (hits([1.0, 1.0], [900, 100]), hits([0.5, 0.5], [2, 2]), False),  # too few to say
        (hits([0.6, 0.6], [900, 100]), hits([0.6, 0.6], [20, 20]), False),  # it has fitted nothing
        (hits([0.7, 0.7], [900, 100]), hits([0.9, 0.9], [20, 20]), False),  # wrong labels in training
        # the common class alone is learned: the accuracies of the classes are much the same in both sets
        (hits([1.0, 0.1], [900, 100]), hits([1.0, 0.1], [20, 20]), False),
        (hits([0.0, 0.0], [0, 0]), hits([0.5, 0.5], [20, 20]), False),
        # a class that was not trained is not asked for
        (hits([1.0, 0.0], [900, 0]), hits([1.0, 0.0], [20, 20]), False),
    ],
)
def test_learned_by_heart(training, meta, expected):
    assert learned_by_heart(training, meta) is expected
