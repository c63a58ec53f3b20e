"""Smoothness: an affine field has one value, a shift none."""

import pytest
import torch

from hilum.losses.smoothness import smoothness


@pytest.mark.parametrize("space", [(5, 7), (4, 5, 6)])
def test_an_affine_field_costs_its_matrix(space: tuple[int, ...]) -> None:
    dims = len(space)
    torch.manual_seed(0)
    matrix = torch.randn(dims, dims)
    grid = torch.stack(torch.meshgrid(*(torch.arange(float(size)) for size in space), indexing="ij"))
    field = torch.einsum("ij,j...->i...", matrix, grid)[None]
    torch.testing.assert_close(smoothness(field), matrix.square().mean())
    torch.testing.assert_close(smoothness(field + 3), matrix.square().mean())


def test_a_shift_is_free() -> None:
    assert float(smoothness(torch.full((2, 3, 4, 5, 6), 7.0))) == 0


def test_one_voxel_axes_are_left_out() -> None:
    field = torch.randn(1, 3, 1, 5, 6)
    both = [field.diff(dim=axis).square().mean() for axis in (3, 4)]
    torch.testing.assert_close(smoothness(field), torch.stack(both).mean())
    assert float(smoothness(torch.ones(1, 2, 1, 1))) == 0
