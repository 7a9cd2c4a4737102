"""Probability matching: the values of another field, in the order of this field."""

import torch

from squall.convgru.heads.matching import probability_matched, sorted_amounts


def test_matching_gives_the_other_distribution_in_the_same_order():
    torch.manual_seed(0)
    field, other = torch.rand(1, 1, 6, 6) + 0.1, torch.rand(1, 1, 6, 6)
    known = torch.ones(1, 1, 6, 6)
    known[..., 0, :] = 0
    values = sorted_amounts(other, known)
    matched = probability_matched(field, known, values)
    a, b = field[..., 1:, :].flatten(), matched[..., 1:, :].flatten()
    assert torch.equal(a.argsort(), b.argsort())
    assert torch.equal(b.sort().values, other[..., 1:, :].flatten().sort().values)
    assert torch.equal(probability_matched(other, known, values)[..., 1:, :], other[..., 1:, :])


def test_only_rain_is_dealt_out():
    """The other pixels are 0, and those that are not known get nothing."""
    torch.manual_seed(1)
    field = torch.rand(2, 1, 6, 6)
    other = (torch.rand(2, 1, 6, 6) - 0.7).clamp(min=0)
    other[1] = 0  # a dry sample
    known = torch.ones(2, 1, 6, 6)
    known[..., :2, :] = 0
    amounts = sorted_amounts(other, known)
    assert [len(values) for values in amounts] == [int((other[0, 0, 2:] > 0).sum()), 0]
    matched = probability_matched(field, known, amounts)
    wet = matched[0, 0] > 0
    assert torch.equal(matched[0, 0][wet].sort().values, amounts[0])
    assert not wet[:2].any()
    assert field[0, 0, 2:][wet[2:]].min() > field[0, 0, 2:][~wet[2:]].max()
    assert not matched[1].any()
