"""Shares of ignored and recovered pixels and of empty prompts."""

import torch

from selfsam_d2.pseudo_labels.statistics import label_statistics, mean_statistics


def test_shares_of_the_counted_pixels():
    prompt = torch.tensor([[1, -1, 0, 0], [1, -1, 3, -1]])
    instance = torch.tensor([[1, 1, 0, -1], [1, 1, 3, -1]])
    recovered = (prompt == -1) & (instance != -1)
    kept = torch.ones(2, 4, dtype=torch.bool)
    found = label_statistics(prompt, instance, recovered, kept, count=5)
    assert found == {
        "prompt_ignored": 3 / 8,
        "instance_ignored": 2 / 8,
        "recovered": 2 / 8,
        "empty_prompts": torch.tensor(3 / 5).item(),  # the ids 2, 4 and 5 have no pixel
    }
    kept[:, 3] = False
    counted = label_statistics(prompt, instance, recovered, kept, count=4)
    assert counted["prompt_ignored"] == torch.tensor(2 / 6).item()
    assert counted["instance_ignored"] == 0


def test_nothing_to_count_is_zero():
    labels = torch.zeros(2, 2, dtype=torch.long)
    none = torch.zeros(2, 2, dtype=torch.bool)
    assert set(label_statistics(labels, labels, none, none, count=0).values()) == {0.0}


def test_the_mean_over_crops():
    assert mean_statistics([{"a": 0.5, "b": 1.0}]) == {"a": 0.5, "b": 1.0}
    found = mean_statistics([{"a": 0.5, "b": 1.0}, {"a": 0.25, "b": 0.0}, {"a": 0.0, "b": 0.5}])
    assert found == {"a": 0.25, "b": 0.5}
