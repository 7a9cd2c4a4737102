"""Probability matching: the values of another field, in the order of this field."""

import torch

from squall.convgru.heads.matching import probability_matched, sorted_values


def test_matching_gives_the_other_distribution_in_the_same_order():
    torch.manual_seed(0)
    field, other = torch.rand(1, 1, 6, 6) + 0.1, torch.rand(1, 1, 6, 6)
    known = torch.ones(1, 1, 6, 6)
    known[..., 0, :] = 0
    values = sorted_values(other, known)
    matched = probability_matched(field, known, values)
    a, b = field[..., 1:, :].flatten(), matched[..., 1:, :].flatten()
    assert torch.equal(a.argsort(), b.argsort())
    assert torch.equal(b.sort().values, other[..., 1:, :].flatten().sort().values)
    assert torch.equal(probability_matched(other, known, values)[..., 1:, :], other[..., 1:, :])
