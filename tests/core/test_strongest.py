"""The strongest class of each voxel."""

import pytest
import torch

from hilum.core.strongest import strongest


@pytest.mark.parametrize("classes", [1, 2, 3, 8, 105])
def test_it_is_argmax_and_of_equal_scores_the_first(classes):
    # few different values, so that many are equal
    scores = torch.randint(0, 3, (classes, 13, 17, 19), generator=torch.Generator().manual_seed(classes)).float()
    assert torch.equal(strongest(scores), torch.from_numpy(scores.numpy().argmax(axis=0)))
    turned = scores.flatten(1).t().contiguous().t()
    assert torch.equal(strongest(turned), strongest(scores).flatten())
    assert torch.equal(strongest(scores[None], 1), strongest(scores)[None])
